//! Golden files: every output of the kept recording, byte by byte but for line breaks.
//!
//! `RPROF_BLESS=1 cargo test --test replay` writes them anew; what changed is then for the eyes of
//! who changed it.

use std::{fs, path::Path};

use serde_json::Value;

use super::{message, show};

/// Compares with a golden file, or writes it.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("RPROF_BLESS").is_some_and(|bless| bless == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        return fs::write(path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    if golden == text {
        return;
    }
    let same = golden.lines().zip(text.lines()).take_while(|(old, new)| old == new).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(the end)").to_owned();
    panic!(
        "tests/golden/{name}:{}: the golden file has\n  {}\nand rprof writes\n  {}\n\
         RPROF_BLESS=1 cargo test --test replay   takes the new one",
        same + 1,
        line(&golden),
        line(text)
    );
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// JSON with a line for each list or object that holds no other, so that a difference can be read.
fn lines_of_json(bytes: &[u8]) -> String {
    let mut out = String::new();
    write_json(&serde_json::from_slice(bytes).unwrap(), "", &mut out);
    out + "\n"
}

fn write_json(value: &Value, indent: &str, out: &mut String) {
    let flat = |value: &Value| !value.is_array() && !value.is_object();
    let members: Vec<(String, &Value)> = match value {
        Value::Array(list) if !list.iter().all(flat) => {
            list.iter().map(|value| (String::new(), value)).collect()
        }
        Value::Object(map) if !map.values().all(flat) => {
            map.iter().map(|(key, value)| (format!("{key:?}: "), value)).collect()
        }
        _ => return *out += &value.to_string(),
    };
    let (open, close) = if value.is_array() { ("[", "]") } else { ("{", "}") };
    let inner = format!("{indent}  ");
    *out += open;
    for (index, (key, value)) in members.iter().enumerate() {
        *out += if index == 0 { "\n" } else { ",\n" };
        *out += &format!("{inner}{key}");
        write_json(value, &inner, out);
    }
    *out += &format!("\n{indent}{close}");
}

/// SVG with a line for each element, and without scripts: inferno's is not ours, and rprof's own
/// has its own file.
fn lines_of_svg(svg: &str) -> String {
    let mut kept = String::new();
    let mut rest = svg;
    while let Some((before, after)) = rest.split_once("<script") {
        let (_, after) = after.split_once("</script>").unwrap();
        kept += before;
        kept += "<script/>";
        rest = after;
    }
    (kept + rest).replace("><", ">\n<") + "\n"
}

#[test]
fn report() {
    golden("report.txt", &text(show("report", &[])));
    golden("report-by-thread.txt", &text(show("report", &["--by", "thread", "-n", "5"])));
    golden("report.json", &lines_of_json(&show("report", &["--json"])));
}

#[test]
fn flamegraph() {
    golden("flamegraph.svg.txt", &lines_of_svg(&text(show("flamegraph", &[]))));
}

#[test]
fn folded() {
    golden("folded.txt", &text(show("export", &["-f", "folded"])));
    let view = ["-f", "folded", "--inverted", "--by", "process"];
    golden("folded-inverted.txt", &text(show("export", &view)));
}

#[test]
fn pprof() {
    golden("pprof.txt", &message::text(&show("export", &["-f", "pprof"])));
}

#[test]
fn speedscope() {
    golden("speedscope.json", &lines_of_json(&show("export", &["-f", "speedscope"])));
}

#[test]
fn firefox() {
    golden("firefox.json", &lines_of_json(&show("export", &["-f", "firefox"])));
}

#[test]
fn json() {
    golden("json.json", &lines_of_json(&show("export", &["-f", "json"])));
}

#[test]
fn the_recording_has_one_of_each() {
    let folded = text(show("export", &["-f", "folded"]));
    for frame in [
        "_[k]",                             // kernel
        "mix_[i]",                          // inlined
        "ink::Brush<unsigned long>::paint", // C++
        "pastel::Chalk as pastel::Shade",   // Rust
        "Script:~scale_[j]",                // JIT with a name
        "[jit]_[j]",                        // and without
        "[libplain.so]",                    // no symbols
    ] {
        assert!(folded.contains(frame), "{frame}");
    }
}

#[test]
fn the_recording_tells_nothing_of_a_machine() {
    let json = text(show("export", &["-f", "json"]));
    for private in ["/home/", "/root/", "/work", "/Users/"] {
        assert!(!json.contains(private), "{private}");
    }
    assert!(json.contains("\"host\":\"example\""));
}
