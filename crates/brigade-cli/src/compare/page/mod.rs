//! The result as a page to look at: one file, which needs neither network nor script.
//!
//! All of it is made here, charts included; the script moves the one chart with sliders and does
//! nothing else. What each part needs:
//! - [`html`]: text made safe;
//! - [`chart`]: a line chart as SVG, on axes of [`scale`], and [`charts`]: which there are;
//! - [`model`]: what a task costs, for the sliders;
//! - [`sections`]: the rows.

mod chart;
mod charts;
mod html;
mod model;
mod scale;
mod sections;

use std::fmt::Write as _;

use super::against::{Changes, LEGEND, Mark};
use super::format::{Unit, time};
use super::json;
use super::render::machine_line;
use super::row::Report;
use super::verdict::Outcome;
use html::{esc, json_in_script, prose, url_data};
use model::{Cost, Model, TYPICAL, Task};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the sliders show first: a request.
const FIRST: Task = TYPICAL[1].1;

/// The three ways to run a task, as the sliders' part calls them.
const WAYS: [(&str, &str); 3] = [
    ("thread", "Thread of a pool"),
    ("pooled", "Process of a pool"),
    ("fresh", "Fresh process"),
];

/// The whole page.
pub(super) fn page(report: &Report, changes: Option<&Changes>) -> String {
    let mut out = String::with_capacity(256 * 1024);
    let model = Model::of(report);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <title>Processes and threads, measured</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    header(&mut out, report, changes.is_some());
    out.push_str("<main id=\"main\">\n");
    overview(&mut out, report);
    if let Some(changes) = changes {
        self::changes(&mut out, changes);
    }
    your_task(&mut out, &model);
    for row in &report.rows {
        sections::section(&mut out, row, report);
    }
    method(&mut out, report);
    out.push_str("</main>\n");
    if let Ok(model) = &model {
        // Numbers only; escaped all the same.
        let json = serde_json::to_string(model).unwrap_or_default();
        let _ = write!(
            out,
            "<script type=\"application/json\" id=\"model\">{}</script>\n<script>\n{SCRIPT}</script>\n",
            json_in_script(&json)
        );
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn header(out: &mut String, report: &Report, has_changes: bool) {
    let when = report
        .time
        .map_or_else(String::new, |at| format!(" on {}", time(at)));
    let _ = write!(
        out,
        "<a class=\"skip\" href=\"#main\">Skip to the results</a>\n<header>\n<h1>Processes and threads, measured</h1>\n\
         <p class=\"lede\">What textbooks say of processes and threads, put to the test on one machine{}.</p>\n\
         <p class=\"machine\">{}</p>\n",
        esc(&when),
        esc(&machine_line(report)),
    );
    let warnings: Vec<String> = super::render::warnings(report);
    for warning in warnings {
        let _ = writeln!(out, "<p class=\"warning\">{}</p>", esc(&warning));
    }
    let changes = if has_changes {
        "<li><a href=\"#changes\">What changed</a></li>"
    } else {
        ""
    };
    let _ = write!(
        out,
        "<nav aria-label=\"Parts of this page\"><ul><li><a href=\"#claims\">The claims</a></li>{changes}\
         <li><a href=\"#task\">Your task</a></li><li><a href=\"#method\">Machine and method</a></li></ul></nav>\n</header>\n"
    );
}

/// How a verdict begins.
fn outcome(outcome: Outcome) -> (&'static str, &'static str, &'static str) {
    match outcome {
        Outcome::Holds => ("holds", "●", "holds"),
        Outcome::Depends => ("depends", "◐", "depends"),
        Outcome::DoesNotHold => ("fails", "○", "does not hold here"),
    }
}

fn overview(out: &mut String, report: &Report) {
    out.push_str("<section aria-labelledby=\"claims\">\n<h2 id=\"claims\">The claims</h2>\n<ol class=\"claims\">\n");
    for row in &report.rows {
        let (class, sign, word) = match &row.result {
            Ok(measured) => outcome(measured.verdict.outcome),
            Err(_) => ("missing", "–", "not measured"),
        };
        let _ = writeln!(
            out,
            "<li value=\"{}\"><a href=\"#{}\">{}</a> <span class=\"outcome {class}\"><span aria-hidden=\"true\">{sign}</span> {word}</span>\
             <span class=\"says\">{}</span></li>",
            row.number,
            sections::anchor(row),
            esc(&row.title),
            esc(&row.claim),
        );
    }
    out.push_str("</ol>\n</section>\n");
}

/// The chart that a reader can move. Without a script it shows one task, and a table of others.
fn your_task(out: &mut String, model: &Result<Model, crate::fail::Failure>) {
    out.push_str("<section aria-labelledby=\"task\">\n<h2 id=\"task\">Your task</h2>\n");
    let model = match model {
        Ok(model) => model,
        Err(missing) => {
            let _ = write!(
                out,
                "<p>This result does not have what it takes to say what a task costs: {}.</p>\n</section>\n",
                esc(&missing.to_string())
            );
            return;
        }
    };
    out.push_str(
        "<p>What does a task cost in a thread, in a process that is there already, and in one that is made for it? By the figures \
         of this machine.</p>\n<form class=\"sliders\" id=\"sliders\" hidden>\n",
    );
    for slider in &SLIDERS {
        let _ = writeln!(
            out,
            "<div class=\"slider\"><label for=\"{id}\">{label}</label>\
             <input type=\"range\" id=\"{id}\" min=\"0\" max=\"{max}\" step=\"1\" value=\"0\">\
             <span class=\"number\"><input type=\"number\" id=\"{id}-number\" min=\"0\" step=\"any\" aria-label=\"{label}, {unit}\"> {unit}</span></div>",
            id = slider.id,
            label = slider.label,
            max = slider.max,
            unit = slider.unit,
        );
    }
    let _ = write!(
        out,
        "</form>\n<noscript><p>Without JavaScript this is one example; others are in the table below.</p></noscript>\n\
         <p id=\"which\">A task of {}</p>\n<p class=\"verdict\" id=\"says\" role=\"status\" aria-live=\"polite\">",
        prose(&about(FIRST))
    );
    out.push_str(&prose(&model.verdict(FIRST).1));
    out.push_str("</p>\n");
    bars(out, model);
    typical(out, model);
    out.push_str(include_str!("formula.html"));
    out.push_str("</section>\n");
}

struct Slider {
    id: &'static str,
    label: &'static str,
    unit: &'static str,
    max: u32,
}

/// `page.js` says what their steps are.
const SLIDERS: [Slider; 3] = [
    Slider {
        id: "length",
        label: "How long is your task?",
        unit: "ms",
        max: 80,
    },
    Slider {
        id: "input",
        label: "How large is its input?",
        unit: "KiB",
        max: 25,
    },
    Slider {
        id: "crash",
        label: "How often does it crash? One in",
        unit: "tasks (0: never)",
        max: 18,
    },
];

/// What the parts of a bar are, in the order of [`Cost::parts`].
const PARTS: [&str; 4] = ["the task", "handing over", "its input", "crashes"];

fn bars(out: &mut String, model: &Model) {
    let costs = model.costs(FIRST);
    let most = costs.iter().map(Cost::total).fold(0.0, f64::max);
    out.push_str(
        "<table class=\"bars\" id=\"bars\"><caption>Cost of each task, by what the time is spent on</caption>\n<thead><tr><th scope=\"col\">way</th>",
    );
    for (index, part) in PARTS.iter().enumerate() {
        let _ = write!(
            out,
            "<th scope=\"col\"><svg class=\"key\" aria-hidden=\"true\" width=\"14\" height=\"10\"><rect class=\"part p{index}\" width=\"14\" height=\"10\"/></svg> {part}</th>"
        );
    }
    out.push_str("<th scope=\"col\">in all</th></tr></thead>\n");
    for ((id, name), cost) in WAYS.iter().zip(&costs) {
        let _ = write!(
            out,
            "<tbody id=\"way-{id}\"><tr><th scope=\"row\">{name}</th>"
        );
        for (index, part) in cost.parts().iter().enumerate() {
            let said = prose(&Unit::Nanoseconds.one(*part));
            let _ = write!(
                out,
                "<td data-label=\"{}\"><data value=\"{part}\">{said}</data></td>",
                PARTS[index]
            );
        }
        let total = cost.total();
        let _ = write!(
            out,
            "<td class=\"total\" data-label=\"in all\"><data value=\"{total}\">{}</data></td></tr>\n\
             <tr class=\"bar\" aria-hidden=\"true\"><td colspan=\"6\"><svg width=\"100%\" height=\"18\">",
            prose(&Unit::Nanoseconds.one(total))
        );
        let mut from = 0.0;
        for (index, part) in cost.parts().iter().enumerate() {
            let width = part / most * 100.0;
            let _ = write!(
                out,
                "<rect class=\"part p{index}\" x=\"{from:.3}%\" width=\"{width:.3}%\" height=\"18\"/>"
            );
            from += width;
        }
        out.push_str("</svg></td></tr></tbody>\n");
    }
    out.push_str(
        "</table>\n<svg class=\"patterns\" aria-hidden=\"true\" width=\"0\" height=\"0\"><defs>\
         <pattern id=\"hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect width=\"5\" height=\"5\" class=\"paper\"/><rect width=\"2.5\" height=\"5\" class=\"ink1\"/></pattern>\
         <pattern id=\"dots\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\"><rect width=\"5\" height=\"5\" class=\"paper\"/><circle cx=\"2.5\" cy=\"2.5\" r=\"1.5\" class=\"ink2\"/></pattern>\
         <pattern id=\"cross\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><rect width=\"6\" height=\"6\" class=\"paper\"/><path d=\"M0 0L6 6M6 0L0 6\" class=\"ink3\"/></pattern>\
         </defs></svg>\n",
    );
}

fn typical(out: &mut String, model: &Model) {
    out.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Tasks that one may have\">\n<table class=\"typical\" id=\"typical\">\
         <caption>Tasks that one may have</caption>\n<thead><tr><th scope=\"col\">a task</th><th scope=\"col\">thread</th><th scope=\"col\">pooled process</th>\
         <th scope=\"col\">fresh process</th><th scope=\"col\">take</th></tr></thead>\n<tbody>\n",
    );
    for (name, task) in &TYPICAL {
        let (word, says) = model.verdict(*task);
        let _ = write!(
            out,
            "<tr data-length=\"{}\" data-input=\"{}\" data-crash=\"{}\" data-says=\"{}\"><th scope=\"row\"><span class=\"name\">{name}</span> <small>{}</small></th>",
            task.length,
            task.input,
            task.crash,
            prose(&says),
            prose(&about(*task)),
        );
        for ((id, _), cost) in WAYS.iter().zip(model.costs(*task)) {
            let total = cost.total();
            let said = prose(&Unit::Nanoseconds.one(total));
            let _ = write!(
                out,
                "<td><data class=\"{id}\" value=\"{total}\">{said}</data></td>"
            );
        }
        let _ = writeln!(out, "<td>{word}</td></tr>");
    }
    out.push_str("</tbody></table></div>\n");
}

/// Its length, its input, how often it crashes. `page.js` says it in the same words.
fn about(task: Task) -> String {
    let crash = if task.crash == 0.0 {
        "never crashes".to_owned()
    } else {
        format!("1 in {} crashes", grouped(task.crash as u64))
    };
    format!(
        "{}, {} of input, {crash}",
        Unit::Nanoseconds.one(task.length),
        Unit::Bytes.one(task.input)
    )
}

/// `1,000,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn changes(out: &mut String, changes: &Changes) {
    out.push_str("<section aria-labelledby=\"changes\">\n<h2 id=\"changes\">What changed</h2>\n");
    for remark in &changes.remarks {
        let _ = writeln!(out, "<p>{}</p>", prose(remark));
    }
    let _ = writeln!(out, "<p class=\"note\">{LEGEND}</p>");
    for row in &changes.rows {
        let _ = writeln!(out, "<h3>{} {}</h3>", row.number, esc(&row.title));
        for remark in &row.remarks {
            let _ = writeln!(out, "<p>{}</p>", prose(remark));
        }
        if row.figures.is_empty() {
            continue;
        }
        let has_sandbox = row.figures.iter().any(|figure| figure.sandbox.is_some());
        let sides = if has_sandbox { 3 } else { 2 };
        let _ = write!(
            out,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Changes: {0}\"><table class=\"changes\"><caption class=\"hidden\">Changes: {0}</caption>\
             <thead><tr><th scope=\"col\">figure</th>",
            esc(&row.title)
        );
        for head in &sections::SIDES[..sides] {
            let _ = write!(out, "<th scope=\"col\">{head}</th>");
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for figure in &row.figures {
            let _ = write!(out, "<tr><th scope=\"row\">{}</th>", esc(&figure.label));
            for change in &figure.sides()[..sides] {
                let marked = change.filter(|change| change.mark != Mark::None);
                let class = marked.map_or("", |_| " class=\"marked\"");
                let values = change.map_or_else(String::new, |change| prose(&change.values()));
                let note = change.map_or_else(String::new, |change| prose(&change.note()));
                let _ = write!(out, "<td{class}>{values} <small>{note}</small></td>");
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>\n");
    }
    out.push_str("</section>\n");
}

fn method(out: &mut String, report: &Report) {
    let machine = &report.machine;
    let unknown = || "unknown".to_owned();
    let facts = [
        (
            "Processor",
            machine.processor.clone().unwrap_or_else(unknown),
        ),
        ("Cores that the program may use", machine.cores.to_string()),
        (
            "Memory",
            machine
                .memory
                .map_or_else(unknown, |bytes| Unit::Bytes.one(bytes as f64)),
        ),
        ("Kernel", format!("Linux {}", machine.kernel)),
        (
            "Load in the minute before",
            machine
                .load
                .map_or_else(unknown, |load| format!("{load:.1}")),
        ),
        ("Measured", report.time.map_or_else(unknown, time)),
        (
            "Program",
            format!(
                "brigade {}, {} build{}",
                report.program,
                machine.build,
                if report.quick { ", a quick look" } else { "" }
            ),
        ),
    ];
    out.push_str("<section aria-labelledby=\"method\">\n<h2 id=\"method\">Machine and method</h2>\n<dl class=\"facts\">\n");
    for (name, value) in &facts {
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", esc(value));
    }
    out.push_str("</dl>\n");
    out.push_str(include_str!("method.html"));
    let _ = writeln!(
        out,
        "<p><a id=\"raw\" download=\"brigade-compare.json\" href=\"data:application/json;charset=utf-8,{}\">Download the raw numbers</a> \
         (JSON): <code>brigade compare --from brigade-compare.json</code> shows them again, \
         <code>--against brigade-compare.json</code> compares with them.</p>\n</section>",
        url_data(&json::object(report).to_string())
    );
}

#[cfg(test)]
mod tests {
    use super::super::against;
    use super::super::render::tests::{failed_row, sample, sample_row};
    use super::super::row::Value;
    use super::*;

    /// What a hostile file may have for a name.
    const HOSTILE: &str = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&<!--";

    #[test]
    fn whatever_a_name_is_it_stays_text() {
        let mut row = sample_row();
        row.id = HOSTILE.into();
        row.title = HOSTILE.into();
        row.claim = HOSTILE.into();
        let measured = row.result.as_mut().unwrap();
        measured.done = HOSTILE.into();
        measured.notes = vec![HOSTILE.into()];
        measured.verdict.evidence = HOSTILE.into();
        measured.verdict.on = Some(HOSTILE.into());
        let views = measured.views.as_mut().unwrap();
        views.thread = HOSTILE.into();
        views.process = HOSTILE.into();
        let mut facts = measured.figures[0].clone();
        facts.id = HOSTILE.into();
        facts.label = HOSTILE.into();
        facts.thread = Value::Fact {
            text: HOSTILE.into(),
            data: Some(HOSTILE.into()),
        };
        facts.sandbox = Some(Value::Missing(crate::fail::Failure::new(HOSTILE)));
        measured.figures.push(facts);
        let mut failed = failed_row();
        failed.result = Err(crate::fail::Failure::new(HOSTILE));
        let mut report = sample(&[row, failed]);
        report.program = HOSTILE.into();
        report.machine.processor = Some(HOSTILE.into());
        report.machine.kernel = HOSTILE.into();
        report.machine.build = HOSTILE.into();
        let plain = sample(&[sample_row(), failed_row()]);
        let changes = against::compare(HOSTILE, &plain, &report);
        let page = page(&report, Some(&changes));
        assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
        for tag in ["<script>alert", "<img", "<!--", "onerror=alert(2)>"] {
            assert!(!page.contains(tag), "{tag}");
        }
    }

    #[test]
    fn nothing_is_fetched() {
        let page = page(&sample(&[sample_row()]), None);
        for word in ["http://", "https://", "src=", "@import", "url(//", "<link"] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
