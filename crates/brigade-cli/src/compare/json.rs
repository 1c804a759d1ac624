//! The report for programs, and back from a file. The schema is written down in
//! `docs/compare-json.md`; [`VERSION`] goes up when a program that reads it could break,
//! [`REVISION`] when there are new fields.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::format::Unit;
use super::row::{At, Figure, Measured, Report, Row, Text, Value, Views};
use super::stats::Summary;
use super::verdict::Verdict;
use crate::fail::{Failure, OrFail as _};
use crate::machine::Machine;

const SCHEMA: &str = "brigade-compare";
const VERSION: u32 = 1;
/// 2: `time`; `views` of a row; `sandbox`, `at` and `detail` of a figure.
const REVISION: u32 = 2;

/// The report, as one indented object.
pub(crate) fn write(report: &Report) -> String {
    format!("{:#}\n", object(report))
}

/// The report as a value.
pub(crate) fn object(report: &Report) -> Json {
    json!({
        "schema": SCHEMA,
        "version": VERSION,
        "revision": REVISION,
        "program": report.program,
        "time": report.time,
        "quick": report.quick,
        "machine": report.machine,
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn row(row: &Row) -> Json {
    let mut object = json!({
        "number": row.number,
        "id": row.id,
        "title": row.title,
        "claim": row.claim,
    });
    let (status, rest) = match &row.result {
        Ok(measured) => ("measured", self::measured(measured)),
        Err(reason) => ("failed", json!({ "reason": reason.to_string() })),
    };
    object["status"] = status.into();
    if let (Some(object), Json::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

fn measured(measured: &Measured) -> Json {
    json!({
        "done": measured.done,
        "figures": measured.figures.iter().map(figure).collect::<Vec<_>>(),
        "views": measured.views,
        "verdict": {
            "outcome": measured.verdict.outcome,
            "on": measured.verdict.on,
            "evidence": measured.verdict.evidence,
            "text": measured.verdict.text(),
        },
        "notes": measured.notes,
    })
}

fn figure(figure: &Figure) -> Json {
    let mut object = json!({
        "id": figure.id,
        "label": figure.label,
        "unit": figure.unit,
        "thread": side(&figure.thread),
        "process": side(&figure.process),
        // JSON has no infinity: something against nothing is null, as is what has no ratio.
        "ratio": figure.ratio().filter(|ratio| ratio.is_finite()),
        "at": figure.at,
        "detail": figure.detail,
    });
    if let Some(sandbox) = &figure.sandbox {
        object["sandbox"] = side(sandbox);
    }
    object
}

fn side(value: &Value) -> Json {
    match value {
        Value::Measured(summary) => json!(summary),
        Value::Fact { text, data } => json!({ "text": text, "data": data }),
        Value::Missing(reason) => json!({ "missing": reason.to_string() }),
        Value::None => Json::Null,
    }
}

/// A report that was printed as JSON, by this version or an older one. `name`: of the file.
pub(crate) fn read(name: &str, text: &str) -> Result<Report, Failure> {
    let none = || Failure::new(format!("{name} is no result of `brigade compare --json`"));
    let json: Json =
        serde_json::from_str(text).map_err(|error| none().because(&error.to_string()))?;
    if json["schema"] != SCHEMA {
        return Err(none());
    }
    if json["version"] != VERSION {
        return Err(Failure::new(format!(
            "{name} has version {} of the schema, and this program reads version {VERSION}",
            json["version"]
        )));
    }
    let found: FoundReport = serde_json::from_value(json).or_fail(name)?;
    Ok(Report {
        program: found.program,
        time: found.time,
        quick: found.quick,
        machine: found.machine,
        rows: found.rows.into_iter().map(Row::from).collect(),
    })
}

#[derive(Deserialize)]
struct FoundReport {
    program: Text,
    time: Option<u64>,
    quick: bool,
    machine: Machine,
    rows: Vec<FoundRow>,
}

#[derive(Deserialize)]
struct FoundRow {
    number: usize,
    id: Text,
    title: Text,
    claim: Text,
    #[serde(flatten)]
    result: FoundResult,
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
enum FoundResult {
    Measured(Box<FoundMeasured>),
    Failed { reason: String },
}

#[derive(Deserialize)]
struct FoundMeasured {
    done: String,
    figures: Vec<FoundFigure>,
    views: Option<Views>,
    verdict: Verdict,
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct FoundFigure {
    id: Text,
    label: String,
    unit: Unit,
    thread: Option<FoundValue>,
    process: Option<FoundValue>,
    sandbox: Option<FoundValue>,
    at: Option<At>,
    #[serde(default)]
    detail: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FoundValue {
    Measured(Summary),
    Fact { text: String, data: Option<Json> },
    Missing { missing: String },
}

impl From<FoundRow> for Row {
    fn from(found: FoundRow) -> Self {
        Self {
            number: found.number,
            id: found.id,
            title: found.title,
            claim: found.claim,
            result: match found.result {
                FoundResult::Failed { reason } => Err(Failure::new(reason)),
                FoundResult::Measured(measured) => Ok(Measured {
                    done: measured.done,
                    figures: measured.figures.into_iter().map(Figure::from).collect(),
                    views: measured.views,
                    verdict: measured.verdict,
                    notes: measured.notes,
                }),
            },
        }
    }
}

impl From<FoundFigure> for Figure {
    fn from(found: FoundFigure) -> Self {
        Self {
            id: found.id,
            label: found.label,
            unit: found.unit,
            thread: found.thread.map_or(Value::None, Value::from),
            process: found.process.map_or(Value::None, Value::from),
            sandbox: found.sandbox.map(Value::from),
            at: found.at,
            detail: found.detail,
        }
    }
}

impl From<FoundValue> for Value {
    fn from(found: FoundValue) -> Self {
        match found {
            FoundValue::Measured(summary) => Self::Measured(summary),
            FoundValue::Fact { text, data } => Self::Fact { text, data },
            FoundValue::Missing { missing } => Self::Missing(Failure::new(missing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::{failed_row, sample, sample_row};
    use super::super::row::Axis;
    use super::*;

    fn parsed(rows: &[Row]) -> Json {
        serde_json::from_str(&write(&sample(rows))).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut row = sample_row();
        let measured = row.result.as_mut().unwrap();
        let exact = |value| Value::Measured(Summary::exact(value));
        let more = [
            Figure::new("a", "", Unit::Bytes, exact(1.5), Value::None).at(Axis::Heap, 3e9, "fork"),
            Figure::facts("b", "<b>", Value::yes_no(true), Value::yes_no(false))
                .in_sandbox(Value::Missing(Failure::new("why"))),
            Figure::new("c", "c", Unit::Share, exact(1e-300), exact(0.1)).detail(),
        ];
        measured.figures.extend(more);
        let report = sample(&[row, failed_row()]);
        assert_eq!(read("it", &write(&report)), Ok(report));
    }

    #[test]
    fn a_file_of_the_first_revision_is_read() {
        let mut old = parsed(&[sample_row(), failed_row()]);
        let object = old.as_object_mut().unwrap();
        object.remove("revision");
        object.remove("time");
        let row = old["rows"][0].as_object_mut().unwrap();
        row.remove("views");
        let figure = row["figures"][0].as_object_mut().unwrap();
        figure.remove("at");
        figure.remove("detail");
        let report = read("old.json", &old.to_string()).unwrap();
        assert_eq!((report.time, report.rows.len()), (None, 2));
        assert!(report.figure("sample", "spawn").is_some());
    }

    #[test]
    fn what_is_no_report_is_refused_in_a_sentence() {
        let refused = |text: &str| read("x.json", text).unwrap_err().to_string();
        for text in [
            "",
            "{",
            "[]",
            "7",
            r#"{"schema":"brigade-doctor","version":1}"#,
        ] {
            let reason = refused(text);
            assert!(
                reason.contains("x.json is no result of"),
                "{text}: {reason}"
            );
        }
        let mut newer = parsed(&[]);
        newer["version"] = 2.into();
        assert_eq!(
            refused(&newer.to_string()),
            "x.json has version 2 of the schema, and this program reads version 1"
        );
        let mut broken = parsed(&[sample_row()]);
        broken["rows"][0]["figures"][0]["unit"] = "parsecs".into();
        assert!(refused(&broken.to_string()).contains("parsecs"));
    }

    #[test]
    fn the_shape_is_the_documented_one() {
        let report = parsed(&[sample_row(), failed_row()]);
        assert_eq!(report["schema"], "brigade-compare");
        assert_eq!(
            (&report["version"], &report["revision"]),
            (&1.into(), &2.into())
        );
        assert_eq!(report["quick"], true);
        assert!(report["machine"]["cores"].as_u64().unwrap() >= 1);
        let row = &report["rows"][0];
        assert_eq!(row["status"], "measured");
        assert_eq!(row["verdict"]["outcome"], "holds");
        assert_eq!(row["figures"][0]["unit"], "nanoseconds");
        assert_eq!(row["figures"][0]["thread"]["samples"], 3);
        assert!((row["figures"][0]["ratio"].as_f64().unwrap() - 4.2).abs() < 0.1);
        let failed = &report["rows"][1];
        assert_eq!(failed["status"], "failed");
        assert!(failed["reason"].as_str().unwrap().starts_with("not here"));
        assert!(failed.get("figures").is_none());
    }

    #[test]
    fn every_kind_of_value_has_its_shape() {
        let missing = Value::Missing(Failure::new("why"));
        let odd = Figure::new("odd", "", Unit::Count, missing, Value::None);
        assert_eq!(figure(&odd)["thread"], json!({ "missing": "why" }));
        assert_eq!(figure(&odd)["process"], Json::Null);
        let facts = Figure::facts(
            "fact",
            "",
            Value::yes_no(true),
            Value::Fact {
                text: "so so".into(),
                data: None,
            },
        );
        assert_eq!(
            figure(&facts)["thread"],
            json!({ "text": "yes", "data": true })
        );
        assert_eq!(figure(&facts)["process"]["data"], Json::Null);
    }

    #[test]
    fn an_infinite_ratio_is_null() {
        let exact = |value| Value::Measured(Summary::exact(value));
        let figure = figure(&Figure::new("x", "", Unit::Count, exact(0.0), exact(2.0)));
        assert_eq!(figure["ratio"], Json::Null);
    }

    #[test]
    fn the_document_names_every_field() {
        let document = include_str!("../../docs/compare-json.md");
        let report = parsed(&[sample_row()]);
        let mut objects = vec![
            &report,
            &report["machine"],
            &report["rows"][0],
            &report["rows"][0]["verdict"],
        ];
        objects.extend([
            &report["rows"][0]["figures"][0],
            &report["rows"][0]["figures"][0]["thread"],
        ]);
        for name in objects
            .iter()
            .flat_map(|object| object.as_object().unwrap().keys())
        {
            assert!(
                document.contains(&format!("`{name}`")),
                "docs/compare-json.md says nothing of `{name}`"
            );
        }
    }
}
