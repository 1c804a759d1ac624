//! Text made safe for HTML. All that comes from the machine or from a file goes through [`esc`].

use std::borrow::Cow;

use crate::terminal::keep_units;

/// For element content and for attribute values in double quotes.
pub(super) fn esc(text: &str) -> Cow<'_, str> {
    let is_special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'') || is_control(c);
    if !text.contains(is_special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if is_control(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// A sentence: escaped, and no line ends between a number and its unit.
pub(super) fn prose(text: &str) -> String {
    esc(&keep_units(text)).into_owned()
}

/// What must not be in HTML, and what turns the direction of the text round.
fn is_control(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON for a script element: it cannot end the element.
pub(super) fn json_in_script(json: &str) -> String {
    // In JSON a `<` stands in strings only, where this is the same character.
    json.replace('<', "\\u003c")
}

/// Text as the data of a `data:` URL.
pub(super) fn url_data(text: &str) -> String {
    use std::fmt::Write as _;
    let mut data = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b',' => {
                data.push(byte as char);
            }
            _ => {
                let _ = write!(data, "%{byte:02X}");
            }
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_content_or_attribute() {
        let text = esc("</script><img src=x onerror='a()'>\"&\u{0}\u{202e}");
        assert!(
            !text.contains(['<', '>', '"', '\'', '\u{0}', '\u{202e}']),
            "{text}"
        );
        assert_eq!(esc("a&b"), "a&amp;b");
        assert!(matches!(esc("plain µs × ∞"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_cannot_end_its_script() {
        let json = serde_json::json!({ "name": "</script><!--" }).to_string();
        let safe = json_in_script(&json);
        assert!(!safe.contains('<'));
        let back: serde_json::Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(back["name"], "</script><!--");
    }

    #[test]
    fn a_data_url_has_no_character_that_ends_it() {
        assert_eq!(url_data("{\"a\": 1}\n"), "%7B%22a%22:%201%7D%0A");
        assert_eq!(url_data("µ"), "%C2%B5");
    }
}
