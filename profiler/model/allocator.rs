//! Functions that allocate memory for others: what a profile of memory ends in, and tells nothing.

use std::sync::LazyLock;

use regex::Regex;

/// Whole names of functions that allocate or free, of C, C++, Rust, the allocators that programs
/// bring and the kernel; in the syntax that Rust's and Go's regular expressions share, for pprof's
/// `drop_frames` too (`allocRxStr` of its `legacy_profile.go` is where it begins).
pub const ALLOCATORS: &str = concat!(
    // C libraries, and allocators that take their place.
    r"(__libc_|__GI_|__GI___libc_|__interceptor_)?(malloc|calloc|realloc|reallocarray|free|cfree",
    r"|memalign|aligned_alloc|(__)?posix_memalign|valloc|pvalloc|mmap(64)?|munmap|mremap",
    r"|_int_malloc|_int_realloc|_int_memalign|_mid_memalign|sysmalloc)(\.[a-z0-9.]+)?",
    r"|(je|_rjem_je|_rjem|tc|mi|_mi|tcmalloc|dl)_([a-z0-9_]+_)?[a-z]*(alloc|free|new|memalign)[a-z0-9_]*",
    r"|(tcmalloc|jemalloc)::.*",
    // What programs wrap around them: glib, Python, SQLite, redis, and what GNU programs have.
    r"|g_(try_)?(malloc|realloc|calloc)(0|_n|0_n)?|g_slice_alloc0?|x(malloc|calloc|realloc)",
    r"|_?Py(Object|Mem)_(Raw)?(Malloc|Calloc|Realloc|Free)|_PyMem_(Raw|Debug)[A-Za-z]*",
    r"|sqlite3(Mem)?(Malloc|Realloc|DbMallocRaw|DbMallocZero|DbMallocRawNN)[A-Za-z]*",
    r"|z(try)?(malloc|calloc|realloc)(_[a-z_]+)?",
    // C++ and Rust.
    r"|operator (new|delete)(\[\])?(\(.*\))?",
    r"|std::allocator<.*>::allocate.*|(std::)?__new_allocator<.*>::allocate.*",
    r"|__(rust|rdl|rg)_(alloc|realloc|alloc_zeroed|dealloc)",
    r"|alloc::alloc::.*|<alloc::alloc::Global as .*|std::alloc::.*",
    // The kernel.
    r"|_*(kmalloc|kvmalloc|kzalloc|krealloc|vmalloc|kmem_cache_alloc|slab_alloc|allocate_slab",
    r"|alloc_pages?|alloc_frozen_pages|get_free_pages|get_zeroed_page|(vma_)?alloc_folio|folio_alloc",
    r"|pcpu_alloc|alloc_percpu|mempool_alloc)(_[a-z0-9_]+)?(\.[a-z0-9.]+)?",
);

/// True if a function allocates for whoever calls it.
pub fn is_allocator(name: &str) -> bool {
    /// The longest name that is looked at: none of these is.
    const LONGEST: usize = 512;
    static WHOLE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(&format!("^({ALLOCATORS})$")).ok());
    name.len() <= LONGEST && WHOLE.as_ref().is_some_and(|whole| whole.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_allocate_for_others_are_told_from_those_that_ask() {
        for name in [
            "malloc",
            "calloc",
            "__libc_malloc",
            "realloc",
            "posix_memalign",
            "je_malloc",
            "_rjem_malloc",
            "tc_malloc",
            "tc_new",
            "mi_malloc",
            "mi_heap_malloc_zero",
            "operator new(unsigned long)",
            "operator new[](unsigned long, std::nothrow_t const&)",
            "operator new",
            "__rust_alloc",
            "__rdl_alloc",
            "alloc::alloc::exchange_malloc",
            "mmap64",
            "kmem_cache_alloc_noprof",
            "__kmalloc_node_noprof",
            "__alloc_pages_noprof",
            "kmem_cache_alloc_lru.isra.0",
            "pcpu_alloc_noprof",
            "__alloc_frozen_pages_noprof",
            "alloc_pages_mpol",
            "vma_alloc_folio_noprof",
            "folio_alloc_mpol_noprof",
            "___slab_alloc",
            "mempool_alloc_noprof",
            "xmalloc",
            "PyMem_RawMalloc",
            "_PyObject_Malloc",
            "g_malloc0",
            "sqlite3MemMalloc",
            "zmalloc_usable",
        ] {
            assert!(is_allocator(name), "{name}");
        }
        for name in [
            "main",
            "leak_small",
            "mallocate",
            "my_calloc",
            "Foo::operator new_thing",
            "alloc::vec::Vec<T>::push",
            "PyByteArray_Resize",
            "new_session",
            "free_list_push",
            "alloc_empty_file",
            "shmem_alloc_folio",
            "bio_alloc_bioset",
            "",
        ] {
            assert!(!is_allocator(name), "{name}");
        }
        assert!(!is_allocator(&"malloc".repeat(1000)));
    }
}
