//! Columns of text that line up.

use super::text;

/// A column's heading, and where its cells stand.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    /// What stands above it.
    pub heading: &'a str,
    /// True for numbers, which end where the column ends.
    pub right: bool,
}

/// A column of text.
pub const fn left(heading: &str) -> Column<'_> {
    Column { heading, right: false }
}

/// A column of numbers.
pub const fn right(heading: &str) -> Column<'_> {
    Column { heading, right: true }
}

/// Space between columns.
const GAP: &str = "  ";

/// The fewest characters that the last column is cut to.
const LEAST: usize = 12;

/// Lines of a table. If `width` is known, cells of the last column are cut in the middle so that no
/// line is longer, unless that left next to nothing of them.
pub fn lines(columns: &[Column<'_>], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let cells =
                rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
            cells.max().unwrap_or_default().max(column.heading.len())
        })
        .collect();
    let last = columns.len().saturating_sub(1);
    let before: usize = widths.iter().take(last).map(|width| width + GAP.len()).sum();
    let limit = width.map_or(usize::MAX, |width| width.saturating_sub(before).max(LEAST));
    let heading: Vec<String> = columns.iter().map(|column| column.heading.to_owned()).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (index, (cell, column)) in row.iter().zip(columns).enumerate() {
            let width = widths[index];
            match column.right {
                true => line += &format!("{cell:>width$}"),
                false if index == last => line += &text::shorten(cell, limit),
                false => line += &format!("{cell:<width$}"),
            }
            line += GAP;
        }
        line.truncate(line.trim_end().len());
        line
    };
    std::iter::once(&heading).chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_gives_way() {
        let columns = [right("N"), left("FILE"), left("NAME")];
        let rows = [["1", "é", "short"], ["100", "b.so", "a very long name that goes on"]]
            .map(|row| row.map(str::to_owned).to_vec());
        let lines = super::lines(&columns, &rows, Some(25));
        assert_eq!(lines, ["  N  FILE  NAME", "  1  é     short", "100  b.so  a very …oes on"]);
        assert!(super::lines(&columns, &rows, None)[2].ends_with("that goes on"));
        assert!(super::lines(&columns, &rows, Some(3))[2].chars().count() == 11 + LEAST);
    }
}
