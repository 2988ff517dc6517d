//! Fits clean text into columns of a terminal.

use unicode_width::UnicodeWidthChar;

/// Columns a character takes.
fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Columns a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// The text cut to so many columns, with `…` where something was cut.
pub fn clip(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = head(text, columns.saturating_sub(1)).trim_end().to_owned();
    if columns > 0 {
        out.push('…');
    }
    out
}

/// The longest beginning that fits.
fn head(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += char_width(c);
        if used > columns {
            return &text[..at];
        }
    }
    text
}

/// The text padded with blanks on the right, or clipped.
pub fn left(text: &str, columns: usize) -> String {
    let text = clip(text, columns);
    let blanks = columns - width(&text);
    text + &" ".repeat(blanks)
}

/// The text padded with blanks on the left, or clipped.
pub fn right(text: &str, columns: usize) -> String {
    let text = clip(text, columns);
    " ".repeat(columns - width(&text)) + &text
}

/// The text in lines of at most so many columns, broken at blanks where there are any; at most `lines` of them, the
/// last ending in `…` when more would follow.
pub fn wrap(text: &str, columns: usize, lines: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        if !line.is_empty() && width(&line) + 1 + width(word) > columns {
            out.push(std::mem::take(&mut line));
        }
        while width(word) > columns {
            let part = match head(word, columns) {
                // A character wider than the column: it cannot be shown, but the loop must end.
                "" => &word[..word.chars().next().map_or(word.len(), char::len_utf8)],
                part => part,
            };
            out.push(part.to_owned());
            word = &word[part.len()..];
            if out.len() > lines {
                break;
            }
        }
        if out.len() > lines {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() || out.is_empty() {
        out.push(line);
    }
    if out.len() > lines {
        out.truncate(lines);
        if let Some(last) = out.last_mut() {
            *last = clip(&format!("{last} …"), columns);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks_and_long_words_are_cut() {
        assert_eq!(wrap("one two three", 8, 9), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4, 9), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("a b c d e f", 3, 2), ["a b", "c…"]);
        assert_eq!(wrap("", 10, 3), [""]);
        assert_eq!(wrap(&"x".repeat(1000), 10, 2).len(), 2);
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(width("数a"), 3);
        assert_eq!(clip("数数数", 5), "数数…");
        assert_eq!(left("数", 3), "数 ");
        assert_eq!(right("ab", 4), "  ab");
        assert!(wrap("数数数数", 3, 9).iter().all(|line| width(line) <= 3));
    }
}
