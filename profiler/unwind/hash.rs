//! A 64-bit hash that stays the same between runs and versions, for keys and checksums.
//!
//! Not the standard library's, which promises neither, and not a cryptographic one: it tells
//! damage and chance apart from the original, not an attacker.

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Takes bytes and numbers one after the other.
pub(super) struct Hash(u64);

impl Hash {
    pub fn new() -> Self {
        Self(FACTOR)
    }

    /// The 128-bit product folded in half: each bit of the word reaches all of the result.
    #[inline]
    pub fn number(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        self.0 = (product as u64) ^ (product >> 64) as u64;
        // A state of zero would swallow every following zero.
        self.0 = self.0.wrapping_add(FACTOR);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.number(u64::from_le_bytes(last));
    }

    pub fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(bytes: &[u8]) -> u64 {
        let mut hash = Hash::new();
        hash.bytes(bytes);
        hash.finish()
    }

    #[test]
    fn every_bit_counts() {
        let bytes = [7u8; 77];
        let whole = hash(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(hash(&changed), whole);
        }
        assert_ne!(hash(&[0; 8]), hash(&[0; 16]));
        // Stored keys and checksums depend on it.
        assert_eq!(hash(b"rprof"), 16_820_778_663_410_491_059);
    }
}
