//! Integers and texts as bytes, and blobs under zstd. Reading is bounded and never panics: these
//! bytes come from a file.

use std::io::Read;

use anyhow::{Context, Result, bail};

/// The most bytes that one blob may expand to. Writers seal blobs at a hundredth of it.
const BLOB_MAX: u64 = 256 << 20;

/// Appends to a column.
#[derive(Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// An unsigned integer, 7 bits a byte, low ones first (LEB128).
    pub fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A signed integer, small magnitudes first (zigzag).
    pub fn signed(&mut self, value: i64) {
        self.unsigned((value << 1 ^ value >> 63) as u64);
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// All that another has.
    pub fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// A text with its length.
    pub fn text(&mut self, text: &str) {
        self.unsigned(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// How many bytes there are so far, before compression.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The compressed blob, with a checksum: a bit that changes later must not become another
    /// name or number.
    ///
    /// # Errors
    /// zstd is out of memory.
    pub fn finish(&self, level: i32) -> Result<Vec<u8>> {
        let mut compressor = zstd::bulk::Compressor::new(level).context("cannot compress")?;
        compressor.include_checksum(true).context("cannot compress")?;
        compressor.compress(&self.0).context("cannot compress")
    }
}

/// The bytes of a blob.
///
/// # Errors
/// They are damaged, or expand to more than any writer makes.
pub fn expand(blob: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let decoder = zstd::Decoder::with_buffer(blob).context("damaged blob")?;
    decoder.take(BLOB_MAX).read_to_end(&mut bytes).context("damaged blob")?;
    Ok(bytes)
}

/// Reads what an [`Encoder`] wrote.
pub struct Decoder<'a>(pub &'a [u8]);

impl<'a> Decoder<'a> {
    /// An unsigned integer.
    ///
    /// # Errors
    /// The bytes end, or no integer has so many.
    pub fn unsigned(&mut self) -> Result<u64> {
        let mut value = 0;
        for (index, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index as u32).min(63);
            if byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        bail!("damaged blob: it ends in the middle of a number")
    }

    /// An unsigned integer that has to fit into 32 bits.
    ///
    /// # Errors
    /// It does not, or the bytes end.
    pub fn index(&mut self) -> Result<u32> {
        u32::try_from(self.unsigned()?).context("damaged blob: an index is too large")
    }

    /// How many items follow, each of a byte at least.
    ///
    /// # Errors
    /// There are not that many bytes.
    pub fn count(&mut self) -> Result<usize> {
        let count = self.unsigned()? as usize;
        if count > self.0.len() {
            bail!("damaged blob: it promises more than it holds");
        }
        Ok(count)
    }

    /// A signed integer.
    ///
    /// # Errors
    /// The bytes end.
    pub fn signed(&mut self) -> Result<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// So many bytes.
    ///
    /// # Errors
    /// There are not that many.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (bytes, rest) =
            self.0.split_at_checked(count).context("damaged blob: it ends too early")?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A text; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// The bytes end.
    pub fn text(&mut self) -> Result<std::borrow::Cow<'a, str>> {
        let length = self.count()?;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(String::from_utf8_lossy(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_and_text_comes_back() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let mut encoder = Encoder::default();
        for number in numbers {
            encoder.unsigned(number);
            encoder.signed(number as i64);
        }
        encoder.text("flämme");
        let bytes = expand(&encoder.finish(3).unwrap()).unwrap();
        let mut decoder = Decoder(&bytes);
        for number in numbers {
            assert_eq!(decoder.unsigned().unwrap(), number);
            assert_eq!(decoder.signed().unwrap(), number as i64);
        }
        assert_eq!(decoder.text().unwrap(), "flämme");
        assert!(decoder.unsigned().is_err());
    }

    #[test]
    fn no_changed_bit_goes_unnoticed() {
        let mut encoder = Encoder::default();
        encoder.text("a name that nothing is to change");
        let blob = encoder.finish(3).unwrap();
        let whole = expand(&blob).unwrap();
        for bit in 0..blob.len() * 8 {
            let mut damaged = blob.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(expand(&damaged).map_or(true, |bytes| bytes == whole), "bit {bit}");
        }
    }

    #[test]
    fn damaged_bytes_are_errors() {
        assert!(expand(b"not zstd").is_err());
        assert!(Decoder(&[0xff; 20]).unsigned().is_err());
        assert!(Decoder(&[200, 1, b'x']).text().is_err());
    }
}
