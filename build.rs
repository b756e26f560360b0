//! Compiles each `bpf/NAME.bpf.c` to `OUT_DIR/NAME.skel.rs`, and does nothing else.

use std::{env, error::Error, fs, path::Path};

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    println!("cargo:rerun-if-changed=bpf");
    for entry in fs::read_dir("bpf")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(source) = name.strip_suffix(".bpf.c") else { continue };
        // The object gives its name to the types: `OpenSkel` there is already.
        let object = if source == "open" { "opens" } else { source };
        SkeletonBuilder::new()
            .source(&path)
            .obj(Path::new(&out).join(format!("{object}.bpf.o")))
            .clang_args(["-Ibpf", "-Wall", "-Werror"])
            .build_and_generate(Path::new(&out).join(format!("{source}.skel.rs")))?;
    }
    Ok(())
}
