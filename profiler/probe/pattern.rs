//! Names with `*` for anything and `?` for any one character, as a shell has them.

use anyhow::{Context, Result};
use regex::Regex;

/// What names are held against.
pub struct Pattern(Regex);

impl Pattern {
    /// A pattern that has to match the whole of a name.
    ///
    /// # Errors
    /// It is absurdly long.
    pub fn new(text: &str) -> Result<Self> {
        let mut regex = String::from("(?s)^");
        for c in text.chars() {
            match c {
                '*' => regex.push_str(".*"),
                '?' => regex.push('.'),
                c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
        }
        regex.push('$');
        Ok(Self(Regex::new(&regex).context("the pattern is too long")?))
    }

    /// True if a name is meant.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// True if a text is a pattern, and not a name itself.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_whole_names() {
        let is = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
        assert!(is("*gc*", "_PyGC_gc_start"));
        assert!(is("sched_?witch", "sched_switch"));
        assert!(is("a.b", "a.b") && !is("a.b", "axb"));
        assert!(!is("gc", "gc_start") && is("gc*", "gc_start"));
        assert!(is("operator[]*", "operator[](int)"));
        assert!(is_pattern("*") && !is_pattern("std::sort<int>"));
    }
}
