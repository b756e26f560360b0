//! Programs that cannot have the shim are known before they start, by the right reason; and each
//! reason is checked against what the dynamic loader really does.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use rprof::shim::{WhyNot, check};

use super::{
    listen::Listener,
    workload::{Workshop, need, require_program, require_root, run},
};

const OWN_ALLOCATOR: &str = "#include <stddef.h>\n\
    static char arena[1 << 20];\nstatic size_t used;\n\
    void *malloc(size_t n) { void *p = arena + used; used += (n + 15) & ~15UL; return p; }\n\
    void *calloc(size_t n, size_t m) { return malloc(n * m); }\n\
    void *realloc(void *p, size_t n) { (void)p; return malloc(n); }\n\
    void free(void *p) { (void)p; }\n\
    int main(void) { for (int i = 0; i < 100; i++) free(malloc(100)); return 0; }\n";

fn compile(shop: &Workshop, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (file, path) = (shop.path(&format!("{name}.c")), shop.path(name));
    fs::write(&file, source).unwrap();
    run(Command::new("cc")
        .args(["-O0", "-fno-builtin"])
        .args(flags)
        .arg("-o")
        .arg(&path)
        .arg(&file));
    path
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> PathBuf {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}

/// True if the shim hears that program.
fn is_heard(program: &Path) -> bool {
    let listener = Listener::start(0);
    let mut command = Command::new(program);
    command.envs(listener.shim.environment());
    command.output().unwrap();
    !listener.heard().allocations.is_empty()
}

#[test]
fn static_programs() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    for flag in ["-static", "-static-pie"] {
        let program = shop.build("heap", flag, &["-O1", "-pthread", flag]);
        assert_eq!(check(&program), Err(WhyNot::Static));
        assert!(!is_heard(&program));
    }
    let program = shop.build("heapcalls", "calls", &["-O1", "-fno-builtin"]);
    assert_eq!(check(&program), Ok(()));
    assert!(is_heard(&program));
}

#[test]
fn programs_with_other_rights() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.build("heapcalls", "calls", &["-O1", "-fno-builtin"]);
    let with = |user: Option<u32>, group: Option<u32>, mode: u32| {
        chown(&program, user, group).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        let answer = check(&program);
        assert_eq!(is_heard(&program), answer.is_ok(), "{answer:?}");
        answer
    };
    assert_eq!(with(Some(65534), Some(0), 0o4755), Err(WhyNot::OtherRights("is setuid")));
    assert_eq!(with(Some(0), Some(65534), 0o2755), Err(WhyNot::OtherRights("is setgid")));
    // Root becomes root, and mandatory locking is no set-group-id.
    assert_eq!(with(Some(0), Some(0), 0o6755), Ok(()));
    assert_eq!(with(Some(0), Some(65534), 0o2745), Ok(()));
}

/// For root they change nothing; so it is asked as somebody else.
#[test]
fn programs_with_capabilities() {
    if !require_root() || !require_program("/usr/sbin/setcap") {
        return;
    }
    let shop = Workshop::new();
    let program = shop.build("heapcalls", "calls", &["-O1", "-fno-builtin"]);
    run(Command::new("/usr/sbin/setcap").arg("cap_net_raw+ep").arg(&program));
    assert_eq!(check(&program), Ok(()));
    assert!(is_heard(&program));
    let this = shop.path("tests");
    fs::copy(std::env::current_exe().unwrap(), &this).unwrap();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&this);
    command.args(["--exact", "refused::a_program_from_the_environment", "--nocapture"]);
    let text = run(command.env("CHECK", &program));
    assert!(text.contains("it has file capabilities"), "{text}");
}

#[test]
fn a_program_from_the_environment() {
    if let Some(program) = std::env::var_os("CHECK") {
        println!("it is asked: {}", check(Path::new(&program)).unwrap_err());
    }
}

#[test]
fn programs_with_an_allocator_of_their_own() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = compile(&shop, "own", OWN_ALLOCATOR, &[]);
    assert_eq!(check(&program), Err(WhyNot::OwnAllocator));
    assert!(!is_heard(&program));
}

#[test]
fn programs_with_a_sanitizer() {
    let shop = Workshop::new();
    let source = "int main(void) { return 0; }";
    let file = shop.path("plain.c");
    fs::write(&file, source).unwrap();
    let mut cc = Command::new("cc");
    let built = cc.args(["-fsanitize=address", "-o"]).arg(shop.path("plain")).arg(&file).output();
    if need("gcc's address sanitizer", built.is_ok_and(|output| output.status.success())) {
        let answer = check(&shop.path("plain"));
        assert!(matches!(&answer, Err(WhyNot::Sanitizer(name)) if name.starts_with("libasan.so")));
        // Which would end it at once.
        let folder = tempfile::tempdir().unwrap();
        let shim = rprof::shim::Shim::in_folder(folder.path(), 0).unwrap();
        let mut command = Command::new(shop.path("plain"));
        command.envs(shim.environment());
        assert!(!command.output().unwrap().status.success());
    }
}

#[test]
fn scripts_are_as_their_interpreters() {
    let shop = Workshop::new();
    let script = |name: &str, text: String| write(&shop.path(name), text);
    let statically = shop.build("heap", "static", &["-O1", "-pthread", "-static"]);
    assert_eq!(check(&script("sh", "#!/bin/sh\n".into())), Ok(()));
    assert_eq!(check(&script("env", "#! /usr/bin/env python3\n".into())), Ok(()));
    let one = script("one", format!("#!{} leak\n", statically.display()));
    assert_eq!(check(&one), Err(WhyNot::Static));
    assert_eq!(check(&script("two", format!("#!{}\n", one.display()))), Err(WhyNot::Static));
    let round = shop.path("round");
    write(&round, format!("#!{}\n", round.display()));
    assert!(matches!(check(&round), Err(WhyNot::Foreign(_))));
    assert!(matches!(check(&script("none", "#!\n".into())), Err(WhyNot::Foreign(_))));
    let gone = script("gone", "#!/no/such/file\n".into());
    assert_eq!(
        check(&gone),
        Err(WhyNot::Unreadable("No such file or directory (os error 2)".into()))
    );
}

#[test]
fn files_that_are_no_programs_of_ours() {
    let shop = Workshop::new();
    let whole = fs::read(shop.build("heapcalls", "calls", &["-O1", "-fno-builtin"])).unwrap();
    let reason = |name: &str, bytes: &[u8]| match check(&write(&shop.path(name), bytes)) {
        Err(why) => why.to_string(),
        Ok(()) => panic!("{name} is taken"),
    };
    assert_eq!(reason("text", b"hello"), "it is no ELF file");
    assert_eq!(reason("empty", b""), "it is no ELF file");
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(reason("class", &with(4, 1)), "it is no program for 64-bit x86");
    assert_eq!(reason("machine", &with(18, 183)), "it is no program for 64-bit x86");
    let at = whole.windows(9).position(|bytes| bytes == b"/ld-linux").unwrap();
    assert_eq!(
        reason("loader", &with(at + 1, b'x')),
        "its dynamic loader is neither glibc's nor musl's"
    );
    // Cut short anywhere, it is refused or taken, and that is all.
    for cut in (0..whole.len()).step_by(97) {
        let _ = check(&write(&shop.path("cut"), &whole[..cut]));
    }
}
