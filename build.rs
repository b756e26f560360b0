//! Compiles each `bpf/NAME.bpf.c` to `OUT_DIR/NAME.skel.rs`, and the preload shim to
//! `OUT_DIR/shim.so`.

use std::{env, error::Error, fs, path::Path};

use libbpf_cargo::SkeletonBuilder;
use libbpf_rs::libbpf_sys::API_HEADERS;

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    skeletons(Path::new(&out))?;
    shim(&Path::new(&out).join("shim.so"))
}

/// The objects name their sources, and are in the program: by names that are the same wherever it is
/// built.
fn skeletons(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=bpf");
    let headers = out.join("libbpf");
    write_headers(&headers.join("bpf"))?;
    let include = format!("-I{}", headers.display());
    let renamed = format!("-fdebug-prefix-map={}=libbpf", headers.display());
    let args = ["-Ibpf", &include, "-fdebug-compilation-dir=.", &renamed, "-Wall", "-Werror"];
    for entry in fs::read_dir("bpf")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(source) = name.strip_suffix(".bpf.c") else { continue };
        // The object gives its name to the types: `OpenSkel` there is already.
        let object = if source == "open" { "opens" } else { source };
        SkeletonBuilder::new()
            .source(&path)
            .obj(Path::new(&out).join(format!("{object}.bpf.o")))
            .clang_args(args)
            .build_and_generate(out.join(format!("{source}.skel.rs")))?;
    }
    Ok(())
}

/// libbpf's headers; the builder would have them in a folder with a random name.
fn write_headers(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for (name, text) in API_HEADERS {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// It is loaded into programs of any libc, so it is linked to none.
fn shim(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=shim");
    let mut build = cc::Build::new();
    build
        .opt_level(2)
        .debug(false)
        .pic(true)
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .flag_if_supported("-fno-reorder-blocks-and-partition");
    let status = build
        .get_compiler()
        .to_command()
        .args(["-std=gnu11", "-ffreestanding", "-fno-stack-protector", "-fvisibility=hidden"])
        .args(["-ftls-model=initial-exec", "-shared", "-nostdlib", "-Wl,-z,now,-z,relro"])
        .args(["-Wl,-z,noexecstack,--build-id,--hash-style=both", "shim/heap.c", "-o"])
        .arg(out)
        .status()?;
    if !status.success() {
        return Err("cannot compile shim/heap.c".into());
    }
    Ok(())
}
