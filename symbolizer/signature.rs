//! What a function takes and returns, from debug information: names and the
//! kinds of its parameters, as far as they matter to read them out of the
//! registers of a call. Types are followed for some steps only, since a file
//! may have them refer to each other in a circle.

use gimli::{AttributeValue, EntriesRaw};

use crate::Result;
use crate::dwarf::{Batch, reference};
use crate::units::Unit;

/// The most parameters that are told.
pub const MAX_PARAMETERS: usize = 64;
/// How many entries a type, or a name, may be away.
const MAX_HOPS: usize = 16;
/// The longest name of a type, in bytes.
const MAX_TYPE: usize = 128;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A number with a sign, of so many bytes.
    Signed(u8),
    /// A number without.
    Unsigned(u8),
    /// True or false.
    Bool,
    /// The address of a text that ends in a NUL.
    Text,
    /// Any other address.
    Pointer,
    /// A floating-point number, of so many bytes.
    Float(u8),
    /// A structure by value, of so many bytes.
    Aggregate(u64),
    /// The debug information does not say.
    Unknown,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Empty where it has none.
    pub name: String,
    /// What it is.
    pub shape: Shape,
    /// The same as in the source, as far as it is told: `const char *` is
    /// `char *`.
    pub type_name: String,
}

/// What a function takes and returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// In their order.
    pub parameters: Vec<Parameter>,
    /// None if it returns nothing. Its name is empty.
    pub result: Option<Parameter>,
    /// Whether it may take more than those.
    pub variadic: bool,
}

/// What matters of one entry.
#[derive(Default)]
struct Entry {
    tag: Option<gimli::DwTag>,
    name: Option<String>,
    /// Where its type is.
    kind: Option<u64>,
    /// The entry that it stands for.
    origin: Option<u64>,
    bytes: u64,
    encoding: Option<gimli::DwAte>,
    /// Entries of its parameters.
    parameters: Vec<u64>,
    variadic: bool,
}

/// The signature of the function whose entry is at `offset` of `.debug_info`.
pub(crate) fn read(batch: &mut Batch<'_>, offset: u64) -> Option<Signature> {
    let mut function = entry(batch, offset, true).ok()?;
    // The entry with the code may leave to another what is the same for all copies.
    let mut at = function.origin;
    for _ in 0..MAX_HOPS {
        let Some(next) = at else { break };
        let origin = entry(batch, next, true).ok()?;
        function.kind = function.kind.or(origin.kind);
        if function.parameters.is_empty() {
            function.parameters = origin.parameters;
            function.variadic |= origin.variadic;
        }
        at = origin.origin;
    }
    let parameters = function.parameters.iter().map(|&at| parameter(batch, at)).collect();
    let result = function.kind.map(|kind| {
        let (shape, type_name) = shape(batch, Some(kind));
        Parameter { name: String::new(), shape, type_name }
    });
    Some(Signature { parameters, result, variadic: function.variadic })
}

fn parameter(batch: &mut Batch<'_>, offset: u64) -> Parameter {
    let (mut name, mut kind) = (None, None);
    let mut at = Some(offset);
    for _ in 0..MAX_HOPS {
        let Some(found) = at.and_then(|at| entry(batch, at, false).ok()) else { break };
        name = name.or(found.name);
        kind = kind.or(found.kind);
        at = found.origin;
    }
    let (shape, type_name) =
        if kind.is_some() { shape(batch, kind) } else { (Shape::Unknown, String::new()) };
    Parameter { name: name.unwrap_or_default(), shape, type_name }
}

/// What a type comes to, and what it is called. None is `void`.
fn shape(batch: &mut Batch<'_>, kind: Option<u64>) -> (Shape, String) {
    let mut at = kind;
    // Of the outermost typedef or type with a name, and pointers on the way.
    let (mut name, mut stars, mut found) = (None::<String>, 0, None);
    for _ in 0..MAX_HOPS {
        let Some(offset) = at else {
            // A pointer to nothing in particular.
            found = found.or(Some(Shape::Pointer)).filter(|_| stars > 0);
            name = name.or_else(|| Some("void".into()));
            break;
        };
        let Ok(entry) = entry(batch, offset, false) else { break };
        name = name.or(entry.name);
        at = entry.kind;
        let bytes = u8::try_from(entry.bytes).unwrap_or(u8::MAX);
        let is = match entry.tag {
            Some(
                gimli::DW_TAG_pointer_type
                | gimli::DW_TAG_reference_type
                | gimli::DW_TAG_rvalue_reference_type,
            ) => {
                stars += 1;
                name = None;
                continue;
            }
            Some(gimli::DW_TAG_base_type) => match entry.encoding {
                Some(gimli::DW_ATE_signed | gimli::DW_ATE_signed_char) => Shape::Signed(bytes),
                Some(gimli::DW_ATE_unsigned | gimli::DW_ATE_unsigned_char | gimli::DW_ATE_UTF) => {
                    Shape::Unsigned(bytes)
                }
                Some(gimli::DW_ATE_boolean) => Shape::Bool,
                Some(gimli::DW_ATE_float) => Shape::Float(bytes),
                _ => Shape::Unknown,
            },
            Some(gimli::DW_TAG_enumeration_type) => Shape::Unsigned(bytes),
            Some(
                gimli::DW_TAG_structure_type
                | gimli::DW_TAG_class_type
                | gimli::DW_TAG_union_type
                | gimli::DW_TAG_array_type,
            ) => Shape::Aggregate(entry.bytes),
            Some(
                gimli::DW_TAG_typedef
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type,
            ) => continue,
            Some(gimli::DW_TAG_subroutine_type) => {
                name = Some("function".into());
                Shape::Unknown
            }
            _ => Shape::Unknown,
        };
        let is_char = matches!(is, Shape::Signed(1)) && name.as_deref() == Some("char");
        found = Some(match stars {
            0 => is,
            1 if is_char => Shape::Text,
            _ => Shape::Pointer,
        });
        break;
    }
    let mut text = name.unwrap_or_default();
    if let Some((end, _)) = text.char_indices().nth(MAX_TYPE) {
        text.truncate(end);
    }
    if stars > 0 {
        text = format!("{text} {}", "*".repeat(stars));
    }
    (found.unwrap_or(Shape::Unknown), text)
}

/// Reads an entry; with `children` where its parameters are too.
fn entry(batch: &mut Batch<'_>, offset: u64, children: bool) -> Result<Entry> {
    let index = batch.index;
    let stray = || crate::Error::malformed("a stray reference");
    let unit: &Unit = index.unit_at(offset).ok_or_else(stray)?;
    let abbreviations = batch.abbreviations(unit.abbreviations)?;
    let root = batch.root(unit)?;
    let dwarf = batch.dwarf;
    dwarf.spend(256)?;
    dwarf.info.parse(offset, if children { 4096 } else { 256 }, |window| {
        let start = gimli::UnitOffset(0);
        let mut entries = EntriesRaw::new(window, unit.encoding, &abbreviations, start);
        let mut found = Entry::default();
        let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(found) };
        found.tag = Some(abbreviation.tag());
        for &spec in abbreviation.attributes() {
            let attribute = entries.read_attribute(spec)?;
            let value = attribute.value();
            match attribute.name() {
                gimli::DW_AT_name => found.name = dwarf.string(unit, &root, &value),
                gimli::DW_AT_type => found.kind = reference(unit, &value),
                gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => {
                    found.origin = reference(unit, &value);
                }
                gimli::DW_AT_byte_size => found.bytes = value.udata_value().unwrap_or_default(),
                gimli::DW_AT_encoding => {
                    if let AttributeValue::Encoding(encoding) = value {
                        found.encoding = Some(encoding);
                    }
                }
                _ => {}
            }
        }
        if !children || !abbreviation.has_children() {
            return Ok(found);
        }
        while entries.next_depth() > 0 && found.parameters.len() < MAX_PARAMETERS {
            let (depth, at) = (entries.next_depth(), entries.next_offset().0 as u64);
            if entries.is_empty() {
                // The window ends before the function does.
                return Err(gimli::Error::UnexpectedEof(gimli::ReaderOffsetId(0)));
            }
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            entries.skip_attributes(abbreviation.attributes())?;
            match abbreviation.tag() {
                gimli::DW_TAG_formal_parameter if depth == 1 => found.parameters.push(offset + at),
                gimli::DW_TAG_unspecified_parameters if depth == 1 => found.variadic = true,
                // They come first.
                gimli::DW_TAG_lexical_block | gimli::DW_TAG_inlined_subroutine if depth == 1 => {
                    break;
                }
                _ => {}
            }
        }
        Ok(found)
    })
}
