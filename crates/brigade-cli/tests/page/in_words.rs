//! What the page says, read as text.

use std::fs;

use serde_json::{Value, json};

use crate::support::{brigade, rows};
use crate::{Scratch, between, data, result, values};

#[test]
fn the_page_has_every_number_of_the_json_and_no_other() {
    let scratch = Scratch::new("numbers");
    let result = result();
    let (_, page) = scratch.page(&result, &[]);
    let mut compared = 0;
    let measured = result["rows"].as_array().expect("rows");
    let names: Vec<&str> = measured
        .iter()
        .filter_map(|row| row["id"].as_str())
        .collect();
    assert_eq!(names, rows());
    for row in measured {
        let section = format!("<h2 id=\"row-{}\">", row["number"]);
        let section = between(&page, &section, "</section>");
        for figure in row["figures"].as_array().expect("figures") {
            let id = figure["id"].as_str().expect("an id");
            let line = between(section, &format!("<tr data-figure=\"{id}\">"), "</tr>");
            let medians: Vec<f64> = ["thread", "process", "sandbox"]
                .iter()
                .filter_map(|side| figure[side]["median"].as_f64())
                .collect();
            assert_eq!(values(line), medians, "{id}");
            compared += medians.len();
        }
        let figures = row["figures"].as_array().map_or(0, Vec::len);
        assert_eq!(section.matches("<tr data-figure").count(), figures);
        // Findings, claims and verdicts, in words.
        let claim = row["claim"]
            .as_str()
            .expect("a claim")
            .replace('\'', "&#39;");
        assert!(section.contains(&claim), "{claim}");
    }
    assert!(compared > 150, "{compared}");
    // And the raw numbers to download are the file itself.
    let raw = between(&page, "href=\"data:application/json;charset=utf-8,", "\"");
    assert!(from_url(raw) == result);
}

fn from_url(data: &str) -> Value {
    let mut bytes = Vec::new();
    let mut rest = data.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let two: Vec<u8> = rest.by_ref().take(2).collect();
            let two = String::from_utf8(two).expect("digits");
            bytes.push(u8::from_str_radix(&two, 16).expect("digits"));
        } else {
            bytes.push(byte);
        }
    }
    serde_json::from_slice(&bytes).expect("JSON")
}

fn figure<'a>(result: &'a mut Value, row: &str, id: &str) -> &'a mut Value {
    let named = |name: &str| {
        let name = name.to_owned();
        move |one: &&mut Value| one["id"] == *name
    };
    let rows = result["rows"].as_array_mut().expect("rows");
    let row = rows.iter_mut().find(named(row)).expect("a row");
    let figures = row["figures"].as_array_mut().expect("figures");
    figures.iter_mut().find(named(id)).expect("a figure")
}

#[test]
fn another_number_is_another_chart_another_slider_and_another_verdict() {
    let scratch = Scratch::new("another");
    let (_, before) = scratch.page(&result(), &[]);

    let mut dearer = result();
    figure(&mut dearer, "creation", "pooled")["process"]["median"] = json!(123_456_789.0);
    let (_, after) = scratch.page(&dearer, &[]);
    let bars = between(&after, "<tbody id=\"way-pooled\">", "</tbody>");
    assert_eq!(values(bars)[1], 123_456_789.0);
    assert_ne!(
        bars,
        between(&before, "<tbody id=\"way-pooled\">", "</tbody>")
    );
    let says = |page: &str| between(page, "aria-live=\"polite\">", "</p>").to_owned();
    assert_ne!(says(&before), says(&after));
    assert!(says(&after).contains("Take a thread"), "{}", says(&after));
    let curve =
        |page: &str| between(page, "<figure id=\"chart-break-even\">", "</figure>").to_owned();
    assert_ne!(curve(&before), curve(&after));
    let model = |page: &str| between(page, "id=\"model\">", "</script>").to_owned();
    assert!(model(&after).contains("123456789") && !model(&before).contains("123456789"));

    let mut slower = result();
    figure(&mut slower, "creation", "fork-1gib")["process"]["median"] = json!(987_654_321.0);
    let (_, after) = scratch.page(&slower, &[]);
    let chart =
        |page: &str| between(page, "<figure id=\"chart-creation\">", "</figure>").to_owned();
    assert!(chart(&after).contains("data-value=\"987654321\""));
    assert_ne!(chart(&before), chart(&after));
}

#[test]
fn a_result_of_the_first_revision_has_a_page_and_is_compared_with() {
    let scratch = Scratch::new("first");
    let old = fs::read_to_string(data("first-revision.json")).expect("a file");
    let old: Value = serde_json::from_str(&old).expect("JSON");
    let (_, page) = scratch.page(&old, &[]);
    assert!(page.contains("does not have what it takes to say what a task costs"));
    assert!(page.contains("<h2 id=\"row-10\">"));

    let path = data("first-revision.json");
    let path = path.to_str().expect("a path");
    let (_, page) = scratch.page(&result(), &["--against", path]);
    let changes = between(&page, "<h2 id=\"changes\">", "</section>");
    assert!(changes.contains("Compared with") && changes.contains("first-revision.json"));
    assert!(changes.contains(" → "), "{changes}");
}

#[test]
fn only_what_changed_beyond_the_noise_is_marked() {
    let scratch = Scratch::new("against");
    let now = data("result.json");
    let now = now.to_str().expect("a path");
    let against = |result: &Value| {
        let file = scratch.0.join("old.json");
        fs::write(&file, result.to_string()).expect("written");
        brigade(&[
            "compare",
            "--from",
            now,
            "--against",
            file.to_str().expect("a path"),
        ])
    };
    let marks = |text: &str| {
        // The first lines say what the signs mean.
        let lines = text.lines().skip_while(|line| !line.starts_with('─'));
        lines.filter(|line| line.contains(['▲', '▼', '◆'])).count()
    };
    let same = against(&result());
    assert_eq!(
        (same.code(), marks(&same.stdout)),
        (Some(0), 0),
        "{}",
        same.stdout
    );

    let old = scratch.0.join("old.json");
    let old = old.to_str().expect("a path");
    let one = brigade(&[
        "compare",
        "--from",
        now,
        "--against",
        old,
        "--only",
        "memory",
    ]);
    assert!(
        one.stdout.contains("Memory") && !one.stdout.contains("Creation"),
        "{}",
        one.stdout
    );

    let mut older = result();
    for end in ["median", "lower", "upper"] {
        figure(&mut older, "creation", "spawn")["process"][end] = json!(1_000.0);
    }
    older["machine"]["cores"] = json!(64);
    older["program"] = json!("0.0.1");
    let run = against(&older);
    assert_eq!(marks(&run.stdout), 1, "{}", run.stdout);
    for words in ["Another machine: it was 64 cores", "it was brigade 0.0.1"] {
        assert!(run.stdout.contains(words), "{}", run.stdout);
    }

    older["version"] = json!(7);
    let refused = against(&older);
    assert_eq!(refused.code(), Some(1));
    assert!(
        refused.stderr.contains("has version 7 of the schema"),
        "{}",
        refused.stderr
    );
    assert_eq!(refused.stderr.lines().count(), 1);
}

#[test]
fn a_page_that_cannot_be_written_is_said_before_anything_is_measured() {
    let run = brigade(&["compare", "--html", "/nowhere/page.html"]);
    assert_eq!(run.code(), Some(1));
    assert!(run.stdout.is_empty());
    assert!(
        run.stderr.contains("writing /nowhere/page.html"),
        "{}",
        run.stderr
    );
}
