//! What a browser makes of the page.

#[path = "../support/browser.rs"]
mod browser;

use browser::{Browser, Look};
use serde_json::{Value, json};

use crate::{Scratch, data, result};

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
                 about: row.querySelector('small').textContent, which: document.getElementById('which').textContent,
               }};
             }})()"
        ));
        assert_eq!(found["words"], found["shown"], "{found}");
        assert_eq!(found["sentence"], found["says"], "{found}");
        let about = found["about"].as_str().expect("a text");
        assert_eq!(found["which"], format!("A task of {about}"), "{found}");
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
    // On paper there is nothing to move; which task the verdict is of is said all the same.
    let shown = browser.eval(
        "[...document.querySelectorAll('#sliders input')].map((input) =>
           `${input.type} ${getComputedStyle(input).display !== 'none'}`)",
    );
    let each = ["range false", "number true"];
    assert_eq!(shown, json!([each, each, each].concat()));
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
