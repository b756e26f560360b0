//! What was meant by a word that there is not.

/// How alike two words have to be, from 0 to 1, for one to have been meant by the other: what clap
/// takes for its own suggestions.
const LIKENESS: f64 = 0.7;

/// `; the nearest is X`, to end an error with; empty where nothing is near.
pub fn nearest(word: &str, there_are: impl IntoIterator<Item = String>) -> String {
    let likeness = |other: String| (strsim::jaro_winkler(word, &other), other);
    let near = there_are.into_iter().map(likeness).filter(|(likeness, _)| *likeness > LIKENESS);
    match near.max_by(|(a, one), (b, other)| a.total_cmp(b).then_with(|| other.cmp(one))) {
        Some((_, other)) => format!("; the nearest is {other}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_told() {
        let words = ["python3", "perl", "psql"].map(String::from);
        assert_eq!(nearest("pyhton3", words.clone()), "; the nearest is python3");
        assert_eq!(nearest("xyz", words), "");
        assert_eq!(nearest("", []), "");
    }
}
