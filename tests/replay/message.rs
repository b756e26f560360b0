//! A pprof message as text, much as `go tool pprof -raw` writes it, for where there is no Go.

use std::{fmt::Write, io::Read};

use flate2::read::GzDecoder;
use pprof::protos::{Message, Profile};

/// The text of a gzipped message. Fails where an index or an id leads nowhere.
pub fn text(bytes: &[u8]) -> String {
    let mut raw = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut raw).unwrap();
    let profile = Profile::decode(&raw[..]).unwrap();
    let mut out = String::new();
    write(&profile, &mut out).unwrap();
    out
}

fn write(profile: &Profile, out: &mut String) -> std::fmt::Result {
    let string = |index: i64| &*profile.string_table[index as usize];
    let types = profile.sample_type.iter().chain(&profile.period_type);
    let types: Vec<_> = types.map(|t| format!("{}/{}", string(t.ty), string(t.unit))).collect();
    writeln!(out, "types, and that of the period: {}", types.join(" "))?;
    writeln!(out, "default: {}", string(profile.default_sample_type))?;
    writeln!(out, "period: {}", profile.period)?;
    writeln!(out, "time: {} for {}", profile.time_nanos, profile.duration_nanos)?;
    for comment in &profile.comment {
        writeln!(out, "comment: {}", string(*comment))?;
    }
    writeln!(out, "\nsamples")?;
    for sample in &profile.sample {
        writeln!(out, "{:?}: {:?}", sample.value, sample.location_id)?;
        for label in &sample.label {
            let value = match label.str {
                0 => format!("{} {}", label.num, string(label.num_unit)),
                text => string(text).to_owned(),
            };
            writeln!(out, "    {}: {value}", string(label.key))?;
        }
        for id in &sample.location_id {
            assert!(profile.location.iter().any(|location| location.id == *id), "location {id}");
        }
    }
    writeln!(out, "\nlocations")?;
    for location in &profile.location {
        writeln!(out, "{}: {:#x} M={}", location.id, location.address, location.mapping_id)?;
        let id = location.mapping_id;
        assert!(id == 0 || profile.mapping.iter().any(|m| m.id == id), "mapping {id}");
        for line in &location.line {
            let function = profile.function.iter().find(|f| f.id == line.function_id).unwrap();
            let (name, file) = (string(function.name), string(function.filename));
            writeln!(out, "    {name} {file}:{} s={}", line.line, string(function.system_name))?;
        }
    }
    writeln!(out, "\nmappings")?;
    for map in &profile.mapping {
        let knows = [
            (map.has_functions, "[FN]"),
            (map.has_filenames, "[FL]"),
            (map.has_line_numbers, "[LN]"),
            (map.has_inline_frames, "[IN]"),
        ];
        let knows: String = knows.iter().filter(|(has, _)| *has).map(|(_, word)| *word).collect();
        let range =
            format!("{:#x}/{:#x}/{:#x}", map.memory_start, map.memory_limit, map.file_offset);
        let (file, build_id) = (string(map.filename), string(map.build_id));
        let line = format!("{}: {range} {file} {build_id} {knows}", map.id);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
