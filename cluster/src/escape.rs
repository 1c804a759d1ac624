//! Text from outside, made harmless for a terminal: a program that may write to an application's
//! streams chooses the names that are shown.

/// What a terminal may act on becomes visible: control characters, and those that turn the
/// direction of the text around. What is longer than `limit` characters is cut.
pub(crate) fn visible(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == limit {
            out.push('…');
            break;
        }
        if steers(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(
            visible("a\x1b[2Jb\n\u{9b}c\u{202e}d", 100),
            r"a\u{1b}[2Jb\n\u{9b}c\u{202e}d"
        );
        assert_eq!(visible("größer → メモリ", 100), "größer → メモリ");
        assert_eq!(visible("abcd", 3), "abc…");
    }
}
