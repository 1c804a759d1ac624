//! A row of the table as a section of the page.

use std::fmt::Write as _;

use super::super::format::{Unit, ratio};
use super::super::row::{Figure, Measured, Report, Row, Value};
use super::html::{esc, prose};
use super::{charts, outcome};
use crate::terminal::keep_units;

/// The columns.
pub(super) const SIDES: [&str; 3] = ["in a thread", "in a process", "in a sandboxed process"];

/// The section's id: of the row's number, for its name may be anything.
pub(super) fn anchor(row: &Row) -> String {
    format!("row-{}", row.number)
}

pub(super) fn section(out: &mut String, row: &Row, report: &Report) {
    let anchor = anchor(row);
    let _ = write!(
        out,
        "<section aria-labelledby=\"{anchor}\">\n<h2 id=\"{anchor}\"><span class=\"ordinal\">{}</span> {}</h2>\n\
         <p class=\"claim\"><span class=\"label\">The claim</span> {}</p>\n",
        row.number,
        esc(&row.title),
        esc(&row.claim),
    );
    match &row.result {
        Ok(measured) => self::measured(out, row, measured, report),
        Err(reason) => {
            let _ = writeln!(
                out,
                "<p class=\"verdict missing\"><strong>Not measured:</strong> {}</p>",
                esc(&reason.to_string())
            );
        }
    }
    out.push_str("</section>\n");
}

fn measured(out: &mut String, row: &Row, measured: &Measured, report: &Report) {
    let (class, sign, _) = outcome(measured.verdict.outcome);
    let _ = writeln!(
        out,
        "<p class=\"verdict {class}\"><span class=\"label\">The verdict</span> <span aria-hidden=\"true\">{sign}</span> {}</p>",
        prose(&first_upper(&measured.verdict.text()))
    );
    if let Some(views) = &measured.views {
        let _ = writeln!(
            out,
            "<dl class=\"views\"><div><dt>The thread’s view</dt><dd>{}</dd></div><div><dt>The process’s view</dt><dd>{}</dd></div></dl>",
            prose(&first_upper(&views.thread)),
            prose(&first_upper(&views.process))
        );
    }
    for (chart, reading) in charts::of(&row.id, measured, report) {
        if let Some(svg) = chart.svg() {
            let _ = writeln!(
                out,
                "<figure id=\"{}\"><figcaption><strong>{}.</strong> {}</figcaption>\n{svg}</figure>",
                chart.id,
                esc(&chart.title),
                prose(reading),
            );
        }
    }
    let (details, shown): (Vec<&Figure>, Vec<&Figure>) =
        measured.figures.iter().partition(|figure| figure.detail);
    table(out, "Figures", &row.title, &shown);
    if !details.is_empty() {
        let _ = writeln!(
            out,
            "<details><summary>{} more figures, of the charts</summary>",
            details.len()
        );
        table(out, "More figures", &row.title, &details);
        out.push_str("</details>\n");
    }
    let _ = writeln!(
        out,
        "<div class=\"how\"><h3>How it was measured</h3>\n<p>{}</p>",
        code(&measured.done)
    );
    if !measured.notes.is_empty() {
        out.push_str("<ul>");
        for note in &measured.notes {
            let _ = write!(out, "<li>{}</li>", code(note));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</div>\n");
}

fn first_upper(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(rest).collect()
    })
}

/// Text in which `code` stands between backquotes.
fn code(text: &str) -> String {
    let text = keep_units(text);
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(out, "<code>{}</code>", esc(part));
        } else {
            out.push_str(&esc(part));
        }
    }
    out
}

fn table(out: &mut String, what: &str, title: &str, figures: &[&Figure]) {
    if figures.is_empty() {
        return;
    }
    let has_sandbox = figures.iter().any(|figure| figure.sandbox.is_some());
    let has_ratio = figures.iter().any(|figure| figure.ratio().is_some());
    let sides = if has_sandbox { 3 } else { 2 };
    let _ = write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{what}: {0}\">\n<table class=\"figures\"><caption class=\"hidden\">{what}: {0}</caption>\n\
         <thead><tr><th scope=\"col\">what</th>",
        esc(title)
    );
    for head in &SIDES[..sides] {
        let _ = write!(out, "<th scope=\"col\">{head}</th>");
    }
    if has_ratio {
        out.push_str("<th scope=\"col\">process by thread</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for figure in figures {
        let _ = write!(
            out,
            "<tr data-figure=\"{}\"><th scope=\"row\">{}</th>",
            esc(&figure.id),
            esc(&figure.label)
        );
        let sandbox = figure.sandbox.as_ref().unwrap_or(&Value::None);
        for side in &[&figure.thread, &figure.process, sandbox][..sides] {
            let _ = write!(out, "<td>{}</td>", cell(figure.unit, side));
        }
        if has_ratio {
            let by = figure
                .ratio()
                .map_or_else(String::new, |by| ratio(Some(by)));
            let _ = write!(out, "<td>{by}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn cell(unit: Unit, value: &Value) -> String {
    match value {
        Value::Measured(summary) => {
            let (middle, spread) = unit.parts(summary);
            let spread = spread.map_or_else(String::new, |spread| {
                format!(" <small>{}</small>", esc(&spread))
            });
            format!(
                "<data value=\"{}\">{}</data>{spread}",
                summary.median,
                esc(&middle)
            )
        }
        Value::Fact { text, data } => format!("{}{}", sign(data.as_ref()), esc(text)),
        Value::Missing(reason) => format!("not measured: {}", esc(&reason.to_string())),
        Value::None => "–".to_owned(),
    }
}

/// Before a finding of the rows on crashes and isolation: did the host come to harm?
fn sign(data: Option<&serde_json::Value>) -> &'static str {
    const GOOD: &str = "<span class=\"good\" role=\"img\" aria-label=\"host safe:\">✓</span> ";
    const BAD: &str = "<span class=\"bad\" role=\"img\" aria-label=\"host harmed:\">✗</span> ";
    let harmed = data.and_then(|data| {
        let contained = data.get("contained").and_then(serde_json::Value::as_bool);
        contained.map(|contained| !contained).or(data.as_bool())
    });
    match harmed {
        Some(true) => BAD,
        Some(false) => GOOD,
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sign_says_whether_the_host_was_harmed() {
        assert!(sign(Some(&json!({ "contained": true }))).contains('✓'));
        assert!(sign(Some(&json!({ "contained": false }))).contains('✗'));
        assert!(sign(Some(&json!(true))).contains('✗'));
        assert!(sign(Some(&json!(false))).contains('✓'));
        assert_eq!(sign(Some(&json!(42))), "");
        assert_eq!(sign(None), "");
    }

    #[test]
    fn code_between_backquotes_is_escaped_too() {
        assert_eq!(code("a `b<c` d&"), "a <code>b&lt;c</code> d&amp;");
        assert_eq!(code("one ` <"), "one <code> &lt;</code>");
    }
}
