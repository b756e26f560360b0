//! The functions of allocators, by the names that they are known under: libc's own, those of
//! jemalloc, tcmalloc and mimalloc under their prefixes, and C++'s operators.

/// What a function does, by the shape of its arguments (`enum function` of `bpf/heap.bpf.c`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Function {
    /// `(size)` to an address.
    Malloc = 1,
    /// `(count, size)` to an address.
    Calloc = 2,
    /// `(address, size)` to an address.
    Realloc = 3,
    /// `(address, count, size)` to an address.
    Reallocarray = 4,
    /// `(alignment, size)` to an address.
    Memalign = 5,
    /// `(where the address goes, alignment, size)` to an error number.
    PosixMemalign = 6,
    /// `(address, size, protection, flags, ...)` to an address.
    Mmap = 7,
    /// `(address, old size, size, flags, ...)` to an address.
    Mremap = 8,
    /// `(address)` to nothing.
    Free = 9,
    /// `(address, size)` to an error number.
    Munmap = 10,
}

impl Function {
    /// True if it gives memory back, and so needs no probe at its return.
    pub fn frees(self) -> bool {
        matches!(self, Self::Free | Self::Munmap)
    }

    /// True if it is a system call's wrapper, which allocators use themselves.
    pub fn is_mapping(self) -> bool {
        matches!(self, Self::Mmap | Self::Mremap | Self::Munmap)
    }

    /// What a symbol is; `prefixes` are those of allocators that rprof does not know.
    pub fn of(symbol: &str, prefixes: &[String]) -> Option<Self> {
        if let Some(function) = mapping(symbol).or_else(|| operator(symbol)) {
            return Some(function);
        }
        let known = PREFIXES.iter().copied().chain(prefixes.iter().map(String::as_str));
        known.filter_map(|prefix| symbol.strip_prefix(prefix)).find_map(plain)
    }
}

/// jemalloc's (also as Rust's tikv-jemallocator builds it), tcmalloc's, mimalloc's.
const PREFIXES: [&str; 6] = ["", "je_", "_rjem_je_", "_rjem_", "tc_", "mi_"];

fn plain(name: &str) -> Option<Function> {
    Some(match name {
        "malloc" | "valloc" | "pvalloc" => Function::Malloc,
        // jemalloc: (size, flags); mimalloc: (size), (size, alignment).
        "mallocx" | "zalloc" | "malloc_aligned" | "zalloc_aligned" | "malloc_small"
        | "zalloc_small" | "new" | "new_nothrow" | "new_aligned" | "newarray" => Function::Malloc,
        "calloc" | "calloc_aligned" => Function::Calloc,
        "realloc" | "rallocx" | "realloc_aligned" | "reallocf" => Function::Realloc,
        "reallocarray" => Function::Reallocarray,
        "memalign" | "aligned_alloc" => Function::Memalign,
        "posix_memalign" => Function::PosixMemalign,
        "free" | "cfree" | "dallocx" | "sdallocx" | "free_size" | "free_sized"
        | "free_aligned_sized" | "free_size_aligned" | "free_aligned" | "delete"
        | "delete_sized" | "deletearray" => Function::Free,
        _ => return None,
    })
}

fn mapping(name: &str) -> Option<Function> {
    Some(match name {
        "mmap" | "mmap64" => Function::Mmap,
        "mremap" => Function::Mremap,
        "munmap" => Function::Munmap,
        _ => return None,
    })
}

/// `operator new` and `operator delete`, for arrays, aligned and sized, as the Itanium C++ ABI
/// mangles them for 64-bit sizes.
fn operator(name: &str) -> Option<Function> {
    let (function, rest) = if let Some(rest) = name.strip_prefix("_Zn") {
        (Function::Malloc, rest.strip_prefix("wm").or_else(|| rest.strip_prefix("am"))?)
    } else {
        let rest = name.strip_prefix("_Zd")?;
        let rest = rest.strip_prefix("lPv").or_else(|| rest.strip_prefix("aPv"))?;
        (Function::Free, rest.strip_prefix('m').unwrap_or(rest))
    };
    let rest = rest.strip_prefix("St11align_val_t").unwrap_or(rest);
    let rest = rest.strip_prefix("RKSt9nothrow_t").unwrap_or(rest);
    rest.is_empty().then_some(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_known_for_what_they_do() {
        let of = |symbol: &str| Function::of(symbol, &["my_".to_owned()]);
        for (symbol, function) in [
            ("malloc", Function::Malloc),
            ("je_mallocx", Function::Malloc),
            ("_rjem_sdallocx", Function::Free),
            ("mi_realloc_aligned", Function::Realloc),
            ("tc_posix_memalign", Function::PosixMemalign),
            ("my_calloc", Function::Calloc),
            ("_Znwm", Function::Malloc),
            ("_ZnamSt11align_val_tRKSt9nothrow_t", Function::Malloc),
            ("_ZdlPvm", Function::Free),
            ("_ZdaPvSt11align_val_t", Function::Free),
            ("mmap64", Function::Mmap),
        ] {
            assert_eq!(of(symbol), Some(function), "{symbol}");
        }
        for symbol in ["", "mallopt", "your_malloc", "_Znwj", "_ZN3foo6mallocEv", "my_munmap"] {
            assert_eq!(of(symbol), None, "{symbol}");
        }
    }
}
