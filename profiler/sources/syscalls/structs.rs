//! Layouts of the structs that system calls take, from the kernel's own types (BTF).

use std::{collections::HashMap, fmt::Write};

use libbpf_rs::btf::{
    Btf, BtfType, HasSize,
    types::{Composite, Int, IntEncoding, MemberAttr},
};

use crate::bpf::word_at;

/// Integers of one struct that are shown at most, and how deep it may nest.
const FIELDS_MAX: usize = 24;
const DEPTH_MAX: u32 = 4;

/// One integer of a struct.
#[derive(Clone, Debug)]
struct Field {
    name: String,
    offset: usize,
    bytes: usize,
    signed: bool,
}

/// One struct.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    size: usize,
    fields: Vec<Field>,
}

/// The layouts of all structs that were asked for.
pub struct Structs {
    btf: Option<Btf<'static>>,
    /// The types of the kernel, by name.
    types: HashMap<String, u32>,
    known: HashMap<String, Option<Layout>>,
}

impl Structs {
    /// Those of the running kernel; none of them if it does not tell.
    pub fn of_kernel() -> Self {
        let btf = Btf::from_vmlinux().ok();
        let mut types = HashMap::new();
        for composite in btf.iter().flat_map(|btf| btf.type_by_kind::<Composite<'_>>()) {
            if let Some(name) = composite.name().filter(|_| composite.is_struct) {
                types
                    .entry(name.to_string_lossy().into_owned())
                    .or_insert(composite.type_id().into());
            }
        }
        Self { btf, types, known: HashMap::new() }
    }

    /// The size of what a pointer type such as `const struct rlimit *` points to.
    pub fn size(&mut self, pointer: &str) -> Option<usize> {
        Some(self.layout(pointer)?.size)
    }

    /// The layout of what a pointer type points to.
    pub fn layout(&mut self, pointer: &str) -> Option<&Layout> {
        let name = pointer.split("struct ").nth(1)?.split([' ', '*']).next()?.to_owned();
        if !self.known.contains_key(&name) {
            let layout = self.find(&name);
            self.known.insert(name.clone(), layout);
        }
        self.known.get(&name)?.as_ref()
    }

    fn find(&self, name: &str) -> Option<Layout> {
        let (btf, id) = (self.btf.as_ref()?, *self.types.get(name)?);
        let composite: Composite<'_> = btf.type_by_id(id.into())?;
        let mut layout = Layout { size: composite.size(), fields: Vec::new() };
        add(btf, composite, "", 0, DEPTH_MAX, &mut layout.fields);
        Some(layout)
    }
}

/// Adds the integers of a struct that begins at `offset`.
fn add(
    btf: &Btf<'_>,
    composite: Composite<'_>,
    before: &str,
    offset: usize,
    depth: u32,
    fields: &mut Vec<Field>,
) {
    for member in composite.iter() {
        let MemberAttr::Normal { offset: bits } = member.attr else { continue };
        let Some(kind) = btf.type_by_id::<BtfType<'_>>(member.ty) else { continue };
        let kind = kind.skip_mods_and_typedefs();
        let name = member.name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = format!("{before}{name}");
        let offset = offset + bits as usize / 8;
        if fields.len() == FIELDS_MAX {
            return;
        }
        if let Ok(integer) = Int::try_from(kind) {
            let signed = matches!(integer.encoding, IntEncoding::Signed);
            fields.push(Field { name, offset, bytes: usize::from(integer.bits) / 8, signed });
        } else if let Ok(inner) = Composite::try_from(kind)
            && inner.is_struct
            && depth > 0
        {
            let before = if name.is_empty() { name } else { format!("{name}.") };
            add(btf, inner, &before, offset, depth - 1, fields);
        }
    }
}

impl Layout {
    /// The integers that are in `bytes`: `{tv_sec=1, tv_nsec=0}`.
    pub fn write(&self, bytes: &[u8]) -> String {
        let mut text = String::from("{");
        for field in &self.fields {
            let Some(value) = word_at(bytes, field.offset, field.bytes) else { continue };
            // Padding and what is reserved says nothing.
            if field.name.contains("pad") || field.name.contains("unused") {
                continue;
            }
            let comma = if text.len() > 1 { ", " } else { "" };
            let _ = match (field.signed, field.bytes) {
                _ if field.name.ends_with("mode") => {
                    write!(text, "{comma}{}=0{value:o}", field.name)
                }
                (true, 4) => write!(text, "{comma}{}={}", field.name, value as i32),
                (true, _) => write!(text, "{comma}{}={}", field.name, value as i64),
                (false, _) => write!(text, "{comma}{}={value}", field.name),
            };
        }
        text.push('}');
        text
    }
}
