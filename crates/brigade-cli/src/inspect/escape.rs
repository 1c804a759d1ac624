//! Text from outside, made harmless: names of processes, command lines, paths, what a program
//! publishes. Whoever starts a process chooses them.

/// What a terminal may act on becomes visible: control characters, and those that turn the
/// direction of the text around.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// As [`visible`], of bytes that may be no UTF-8.
pub(crate) fn visible_bytes(bytes: &[u8]) -> String {
    visible(&String::from_utf8_lossy(bytes))
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// For the text and the attributes of XML, which some control characters cannot be in at all.
pub(crate) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(
            visible("a\x1b[2Jb\n\u{9b}c\u{202e}d"),
            r"a\u{1b}[2Jb\n\u{9b}c\u{202e}d"
        );
        assert_eq!(visible("größer → メモリ"), "größer → メモリ");
        assert_eq!(visible_bytes(b"x\xff\x07"), "x\u{fffd}\\u{7}");
    }

    #[test]
    fn xml_has_no_markup_and_no_forbidden_characters() {
        assert_eq!(
            xml("<a b=\"c\" d='e'>&\0\u{ffff}"),
            "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;\\u{0}\u{fffd}"
        );
    }
}
