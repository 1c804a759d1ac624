//! `brigade compare --html`: the page says what the JSON says, and a browser shows it.
//!
//! The results are files in `data/`, so nothing is measured here.

#[path = "support/browser.rs"]
mod browser;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use browser::{Browser, Look};
use serde_json::{Value, json};
use support::{brigade, rows};

/// A folder that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = format!("brigade-test-page-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("made");
        Self(folder)
    }

    /// The page that is made of this result.
    fn page(&self, result: &Value, more: &[&str]) -> (PathBuf, String) {
        let (json, html) = (self.0.join("result.json"), self.0.join("page.html"));
        fs::write(&json, result.to_string()).expect("written");
        let paths = [&json, &html].map(|path| path.to_str().expect("a path"));
        let mut arguments = vec!["compare", "--from", paths[0], "--html", paths[1]];
        arguments.extend(more);
        let run = brigade(&arguments);
        assert_eq!(run.code(), Some(0), "{}", run.stderr);
        let text = fs::read_to_string(&html).expect("a page");
        (html, text)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn result() -> Value {
    let text = fs::read_to_string(data("result.json")).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

/// What stands between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text
        .split_once(from)
        .unwrap_or_else(|| panic!("no `{from}`"));
    rest.split_once(to)
        .unwrap_or_else(|| panic!("no `{to}` after `{from}`"))
        .0
}

/// The values of the `<data>` elements in this part of a page.
fn values(part: &str) -> Vec<f64> {
    let found = part.split("<data").skip(1);
    found
        .map(|data| between(data, "value=\"", "\"").parse().expect("a number"))
        .collect()
}

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

#[test]
fn a_browser_moves_the_sliders_by_keys_and_computes_as_the_program_does() {
    let Some(mut browser) = Browser::start("sliders") else {
        return;
    };
    let scratch = Scratch::new("sliders");
    let (page, text) = scratch.page(&result(), &[]);
    browser.look(Look {
        width: 900,
        scheme: "light",
        media: "screen",
    });
    browser.open(&page);
    assert_eq!(
        browser.eval("document.getElementById('sliders').hidden"),
        false
    );

    // Each typical task, by the script: costs and sentence are those that the program wrote.
    let rows = browser.eval("document.getElementById('typical').tBodies[0].rows.length");
    let rows = rows.as_u64().expect("a number");
    assert_eq!(rows, 8);
    for row in 0..rows {
        let found = browser.eval(&format!(
            "(() => {{
               const row = document.getElementById('typical').tBodies[0].rows[{row}];
               row.querySelector('button').click();
               const ways = ['thread', 'pooled', 'fresh'];
               const said = ways.map((way) => row.querySelector('.' + way));
               const bars = ways.map((way) => document.querySelector(`#way-${{way}} .total data`));
               return {{
                 program: said.map((one) => Number(one.value)), words: said.map((one) => one.textContent),
                 script: bars.map((one) => Number(one.value)), shown: bars.map((one) => one.textContent),
                 sentence: row.dataset.says, says: document.getElementById('says').textContent,
               }};
             }})()"
        ));
        assert_eq!(found["words"], found["shown"], "{found}");
        assert_eq!(found["sentence"], found["says"], "{found}");
        for way in 0..3 {
            let [program, script] =
                ["program", "script"].map(|by| found[by][way].as_f64().expect("a number"));
            assert!((program - script).abs() <= 1e-9 * program, "{found}");
        }
    }

    // By keys, as a person who uses no pointer.
    let says = "document.getElementById('says').textContent";
    browser.eval("document.getElementById('length').focus()");
    browser.press("Home", 36);
    let short = browser.eval(says);
    assert_eq!(
        browser.eval("document.getElementById('length-number').value"),
        "0.001"
    );
    browser.press("End", 35);
    let long = browser.eval(says);
    assert_ne!(short, long);
    let spoken = browser.eval("document.getElementById('length').getAttribute('aria-valuetext')");
    assert_eq!(spoken, "100\u{a0}s");
    browser.press("ArrowLeft", 37);
    assert_eq!(
        browser.eval("document.getElementById('length').value"),
        "79"
    );
    browser.eval("document.getElementById('crash').focus()");
    browser.press("ArrowRight", 39);
    let crashing = browser.eval(says);
    let crashing = crashing.as_str().expect("a sentence");
    assert!(
        crashing.contains("a thread that crashes ends the whole program"),
        "{crashing}"
    );
    // From the slider to its number, by one key.
    browser.press("Tab", 9);
    assert_eq!(browser.eval("document.activeElement.id"), "crash-number");
    // What makes no sense changes nothing and says so.
    browser.eval(
        "(() => { const n = document.getElementById('crash-number'); n.value = '1'; n.dispatchEvent(new Event('input')); })()",
    );
    let invalid =
        browser.eval("document.getElementById('crash-number').getAttribute('aria-invalid')");
    assert_eq!(invalid, "true");
    assert_eq!(browser.eval(says), crashing);

    // Without a script the page is all there, but for the sliders.
    browser.call(
        "Emulation.setScriptExecutionDisabled",
        json!({ "value": true }),
    );
    browser.open(&page);
    assert_eq!(
        browser.eval("document.getElementById('sliders').hidden"),
        true
    );
    let first = browser.eval(says);
    assert!(text.contains(first.as_str().expect("a sentence")));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn a_browser_shows_it_wide_and_narrow_light_and_dark_and_on_paper() {
    let Some(mut browser) = Browser::start("shows") else {
        return;
    };
    let scratch = Scratch::new("shows");
    let old = data("first-revision.json");
    let (page, _) = scratch.page(&result(), &["--against", old.to_str().expect("a path")]);
    browser.open(&page);
    let looks = [320, 360, 640, 900, 1600].map(|width| (width, "light", "screen"));
    let more = [
        (360, "dark", "screen"),
        (900, "dark", "screen"),
        (720, "light", "print"),
    ];
    for (width, scheme, media) in looks.into_iter().chain(more) {
        browser.look(Look {
            width,
            scheme,
            media,
        });
        let wide = browser.eval("document.documentElement.scrollWidth");
        assert!(
            wide.as_u64() <= Some(width.into()),
            "{wide} of {width}, {scheme}, {media}"
        );
        // One of the two drawings of each chart, and nothing of it cut off.
        let drawn = browser.eval(
            "[...document.querySelectorAll('figure')].every((figure) =>
               [...figure.querySelectorAll('svg')].filter((svg) => svg.getBoundingClientRect().width > 0).length === 1)",
        );
        assert_eq!(drawn, true, "{width}");
        let cut = browser.eval(
            "[...document.querySelectorAll('svg.chart text')].filter((text) => {
               const [inner, outer] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
               return outer.width > 0 && (inner.left < outer.left - 1 || inner.right > outer.right + 1);
             }).map((text) => text.textContent)",
        );
        assert_eq!(cut, json!([]), "{width}");
        browser.picture(&format!("{width}-{scheme}-{media}"));
    }
    assert_eq!(
        browser.eval("getComputedStyle(document.getElementById('sliders')).display"),
        "none",
        "on paper there is nothing to move"
    );
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn a_browser_tells_a_screen_reader_what_is_what() {
    let Some(mut browser) = Browser::start("reader") else {
        return;
    };
    let scratch = Scratch::new("reader");
    let old = data("first-revision.json");
    let (page, _) = scratch.page(&result(), &["--against", old.to_str().expect("a path")]);
    browser.open(&page);
    // Headings go down one level at a time; every id is there once.
    let levels = browser
        .eval("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))");
    let levels: Vec<i64> = levels
        .as_array()
        .expect("levels")
        .iter()
        .filter_map(Value::as_i64)
        .collect();
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
    assert!(
        levels.windows(2).all(|two| two[1] <= two[0] + 1),
        "{levels:?}"
    );
    for (what, wrong) in [
        (
            "ids twice",
            "(() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id); return ids.filter((id, i) => ids.indexOf(id) !== i); })()",
        ),
        (
            "links to nowhere",
            "[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.hash.slice(1)).filter((id) => !document.getElementById(id))",
        ),
        (
            "tables without a caption",
            "[...document.querySelectorAll('table')].filter((t) => !t.caption || !t.caption.textContent).map((t) => t.className)",
        ),
        (
            "heads without a scope",
            "[...document.querySelectorAll('th')].filter((th) => !th.scope).map((th) => th.textContent)",
        ),
        (
            "pictures without a name",
            "[...document.querySelectorAll('svg')].filter((s) => !s.matches('[aria-hidden] *, [aria-hidden]') && !(s.querySelector('title') && s.getAttribute('role') === 'img')).length ? ['svg'] : []",
        ),
    ] {
        assert_eq!(browser.eval(wrong), json!([]), "{what}");
    }
    // What the browser hands to a screen reader.
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().expect("nodes");
    let names = |role: &str| -> Vec<String> {
        let of_role = nodes.iter().filter(|node| node["role"]["value"] == role);
        let names = of_role.map(|node| node["name"]["value"].as_str().unwrap_or("").to_owned());
        names.collect()
    };
    assert_eq!(
        names("slider"),
        [
            "How long is your task?",
            "How large is its input?",
            "How often does it crash? One in"
        ]
    );
    for role in [
        "main",
        "banner",
        "navigation",
        "status",
        "spinbutton",
        "table",
    ] {
        assert!(!names(role).is_empty(), "no {role}");
    }
    assert!(names("spinbutton").iter().all(|name| !name.is_empty()));
    let pictures = names("image");
    assert!(
        pictures
            .iter()
            .any(|name| name.contains("by the size of the program's heap")),
        "{pictures:?}"
    );
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn a_browser_takes_no_name_for_a_tag() {
    const HOSTILE: &str = "</script><script>document.title = 'caught'</script>\"'><img src=x onerror=\"document.title = 'caught'\">";
    let Some(mut browser) = Browser::start("hostile") else {
        return;
    };
    let scratch = Scratch::new("hostile");
    let mut result = result();
    result["machine"]["processor"] = json!(HOSTILE);
    result["machine"]["kernel"] = json!(HOSTILE);
    let rows = result["rows"].as_array_mut().expect("rows");
    for row in rows {
        for field in ["title", "claim", "done"] {
            row[field] = json!(HOSTILE);
        }
        row["verdict"]["evidence"] = json!(HOSTILE);
        row["views"]["thread"] = json!(HOSTILE);
        for figure in row["figures"].as_array_mut().expect("figures") {
            figure["label"] = json!(HOSTILE);
        }
    }
    let (page, _) = scratch.page(&result, &[]);
    browser.open(&page);
    assert_eq!(
        browser.eval("document.title"),
        "Processes and threads, measured"
    );
    assert_eq!(browser.eval("document.images.length"), 0);
    assert_eq!(browser.eval("document.scripts.length"), 2);
    let shown = browser.eval("document.getElementById('row-1').textContent");
    assert!(
        shown
            .as_str()
            .is_some_and(|text| text.contains("<img src=x")),
        "{shown}"
    );
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}
