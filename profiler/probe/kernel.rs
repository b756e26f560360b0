//! Functions of the kernel: whether this one lets them be probed, and what they take, from its own
//! types (BTF).

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, bail};
use libbpf_rs::btf::{
    Btf, BtfKind, BtfType, HasSize, ReferencesType,
    types::{Composite, Enum, Enum64, Func, FuncProto, Int, IntEncoding, MemberAttr, Ptr},
};

use super::{
    Point,
    argument::{ARGUMENTS_MAX, Argument, CALL, RAX, Shown},
};
use crate::nearest::nearest;

/// Where perf has kprobes, if the kernel has.
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe/type";
/// Symbols of the kernel that are looked at.
const SYMBOLS_MAX: usize = 4 << 20;
/// Structs that stand for a text: the field that is the address of it.
const TEXTS: [(&str, &str); 2] = [("filename", "name"), ("qstr", "name")];

/// What can be used instead on kernels that do not let their functions be probed.
const INSTEAD: &str = "tracepoints go on every kernel: `rprof list 'tracepoint:*'` lists them; probes of programs do too";

/// True if the kernel has kprobes.
pub fn has_kprobes() -> bool {
    Path::new(KPROBES).exists()
}

/// Checks that a function can be probed by a breakpoint.
///
/// # Errors
/// It cannot: says why, and what can be done.
pub fn check_kprobe(function: &str) -> Result<()> {
    if !has_kprobes() {
        bail!("this kernel was built without CONFIG_KPROBES, so it has no kprobes; {INSTEAD}");
    }
    let functions = functions()?;
    if !functions.iter().any(|known| known == function) {
        bail!("the kernel has no function {function}{}", nearest(function, functions));
    }
    Ok(())
}

/// Checks that a function is one that the kernel describes, so that fentry may attach to it.
///
/// # Errors
/// It is not.
pub fn check_fentry(function: &str) -> Result<()> {
    let btf = btf()?;
    if btf.type_by_name::<Func<'_>>(function).is_some() {
        return Ok(());
    }
    let names = btf
        .type_by_kind::<Func<'_>>()
        .filter_map(|func| func.name().map(|name| name.to_string_lossy().into_owned()));
    bail!("the kernel's own types (BTF) have no function {function}{}", nearest(function, names))
}

/// Why a program was not loaded, where that may be for want of fentry.
pub fn explain_fentry(error: anyhow::Error, point: &Point) -> anyhow::Error {
    let Point::Kernel { function, fentry: true, .. } = point else { return error };
    let instead = match has_kprobes() {
        true => format!("kprobe:{function} does the same at a higher price"),
        false => INSTEAD.to_owned(),
    };
    // That it was refused is known here, and what libbpf and the verifier may make of it is not why.
    anyhow::anyhow!(
        "this kernel does not let a BPF program attach to {function} by fentry ({}; it takes \
         CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, a function that was not inlined, and no security \
         policy against it); {instead}",
        error.root_cause()
    )
}

fn btf() -> Result<Btf<'static>> {
    Btf::from_vmlinux().context(
        "the kernel does not describe its functions: it was built without CONFIG_DEBUG_INFO_BTF",
    )
}

/// The names of the kernel's functions, modules included.
pub fn functions() -> Result<Vec<String>> {
    let path = "/proc/kallsyms";
    let file = File::open(path).with_context(|| format!("cannot read {path}"))?;
    let lines = BufReader::with_capacity(256 << 10, file).lines().take(SYMBOLS_MAX);
    Ok(lines
        .map_while(std::result::Result::ok)
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let (kind, name) = (words.next()?, words.next()?);
            ["t", "T", "w", "W"].contains(&kind).then(|| name.to_owned())
        })
        .collect())
}

/// The arguments of a function at its entry or, with `back`, what it returns. By a breakpoint they
/// are in registers, by fentry they come by number.
pub fn arguments(function: &str, fentry: bool, back: bool) -> Vec<Argument> {
    let register = |number: usize| match (fentry, back) {
        (_, true) => Some(RAX),
        (true, _) => u8::try_from(number).ok(),
        (false, _) => CALL.get(number).copied(),
    };
    let btf = Btf::from_vmlinux().ok();
    let prototype = btf.as_ref().and_then(|btf| {
        let func: Func<'_> = btf.type_by_name(function)?;
        FuncProto::try_from(func.referenced_type()).ok()
    });
    let Some(prototype) = prototype else {
        if back {
            return vec![Argument::register("result", Shown::Hex, RAX)];
        }
        let raw = CALL.iter().enumerate();
        return raw
            .map(|(number, &at)| Argument::register(&format!("arg{number}"), Shown::Hex, at))
            .collect();
    };
    let argument = |number: usize, name: &str, kind: BtfType<'_>| {
        let (shown, inside) = shown(kind)?;
        let argument = Argument::register(name, shown, register(number)?);
        Some(match inside {
            Some(inside) => argument.follow(inside),
            None => argument,
        })
    };
    let typed = |number: usize, name: &str, kind: BtfType<'_>| {
        let argument = argument(number, name, kind).unwrap_or_else(|| Argument::unknown(name));
        argument.typed(&name_of(kind))
    };
    if back {
        let result = prototype.referenced_type();
        let void = result.kind() == BtfKind::Void;
        return if void { Vec::new() } else { vec![typed(0, "result", result)] };
    }
    let parameters = prototype.iter().take(ARGUMENTS_MAX).enumerate();
    parameters
        .filter_map(|(number, parameter)| {
            let name = parameter.name.map(|name| name.to_string_lossy().into_owned());
            let name = name.filter(|name| !name.is_empty()).unwrap_or(format!("arg{number}"));
            Some(typed(number, &name, btf.as_ref()?.type_by_id::<BtfType<'_>>(parameter.ty)?))
        })
        .collect()
}

/// How a value of that type is shown, and where in what it points to the address of a text is.
fn shown(kind: BtfType<'_>) -> Option<(Shown, Option<i32>)> {
    let kind = kind.skip_mods_and_typedefs();
    if let Ok(int) = Int::try_from(kind) {
        let bytes = int.bits.div_ceil(8);
        return Some((
            match int.encoding {
                IntEncoding::Signed => Shown::Signed(bytes),
                IntEncoding::Bool => Shown::Bool,
                _ => Shown::Unsigned(bytes),
            },
            None,
        ));
    }
    if let Ok(kind) = Enum::try_from(kind) {
        return Some((Shown::Unsigned(kind.size() as u8), None));
    }
    if Enum64::try_from(kind).is_ok() {
        return Some((Shown::Unsigned(8), None));
    }
    let pointer = Ptr::try_from(kind).ok()?;
    let to = pointer.referenced_type().skip_mods_and_typedefs();
    if let Ok(int) = Int::try_from(to)
        && int.bits == 8
        && name_of(to) == "char"
    {
        return Some((Shown::Text, None));
    }
    if let Ok(composite) = Composite::try_from(to)
        && let Some(inside) = text_in(composite)
    {
        return Some((Shown::Text, Some(inside)));
    }
    Some((Shown::Hex, None))
}

/// Where a struct that stands for a text has its address.
fn text_in(composite: Composite<'_>) -> Option<i32> {
    let name = composite.name()?.to_str()?.to_owned();
    let (_, field) = TEXTS.iter().find(|(known, _)| *known == name)?;
    composite.iter().find_map(|member| {
        let MemberAttr::Normal { offset } = member.attr else { return None };
        (member.name?.to_str()? == *field).then_some((offset / 8) as i32)
    })
}

/// A type in words, without const and the like.
fn name_of(kind: BtfType<'_>) -> String {
    let mut kind = kind;
    let mut stars = String::new();
    for _ in 0..16 {
        match kind.kind() {
            BtfKind::Ptr => stars.push('*'),
            BtfKind::Const | BtfKind::Volatile | BtfKind::Restrict | BtfKind::TypeTag => {}
            BtfKind::Void => return format!("void {stars}").trim_end().to_owned(),
            _ => break,
        }
        let Some(next) = kind.next_type() else {
            return format!("void {stars}").trim_end().to_owned();
        };
        kind = next;
    }
    let what = match kind.kind() {
        BtfKind::Struct => "struct ",
        BtfKind::Union => "union ",
        BtfKind::Enum | BtfKind::Enum64 => "enum ",
        _ => "",
    };
    let name = kind.name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{what}{name} {stars}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_there_are_not() {
        let error = check_fentry("do_unlinkatt").unwrap_err().to_string();
        assert!(error.contains("; the nearest is do_unlinkat"), "{error}");
        if !has_kprobes() {
            let error = check_kprobe("do_unlinkat").unwrap_err().to_string();
            assert!(error.contains("CONFIG_KPROBES") && error.contains("tracepoints"), "{error}");
        }
    }

    #[test]
    fn arguments_by_the_kernels_own_types() {
        let found = |function, back| {
            let arguments = arguments(function, true, back);
            arguments.iter().map(|one| (one.name.clone(), one.shown)).collect::<Vec<_>>()
        };
        let unlink = found("do_unlinkat", false);
        assert_eq!(unlink[0], ("dfd".into(), Shown::Signed(4)));
        assert_eq!(unlink[1], ("name".into(), Shown::Text));
        assert_eq!(found("do_unlinkat", true), [("result".into(), Shown::Signed(4))]);
        assert_eq!(found("no_such_function", true), [("result".into(), Shown::Hex)]);
    }
}
