//! The same for programs. The schema is written down in `docs/compare-json.md`; [`VERSION`] goes up
//! when a program that reads it could break.

use serde_json::{Value as Json, json};

use super::row::{Figure, Measured, Row, Value};
use crate::machine::Machine;

/// Of the schema. Fields may be added without a new version.
const VERSION: u32 = 1;

/// The report, as one indented object.
pub(crate) fn report(machine: &Machine, quick: bool, rows: &[Row]) -> String {
    let report = json!({
        "schema": "brigade-compare",
        "version": VERSION,
        "program": env!("CARGO_PKG_VERSION"),
        "quick": quick,
        "machine": machine,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
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
    json!({
        "id": figure.id,
        "label": figure.label,
        "unit": figure.unit,
        "thread": side(&figure.thread),
        "process": side(&figure.process),
        // JSON has no infinity: something against nothing is null, as is what has no ratio.
        "ratio": figure.ratio().filter(|ratio| ratio.is_finite()),
    })
}

fn side(value: &Value) -> Json {
    match value {
        Value::Measured(summary) => json!(summary),
        Value::Fact { text, data } => json!({ "text": text, "data": data }),
        Value::Missing(reason) => json!({ "missing": reason.to_string() }),
        Value::None => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Unit;
    use super::super::render::tests::{failed_row, sample_row};
    use super::super::stats::Summary;
    use super::*;
    use crate::fail::Failure;

    fn parsed(rows: &[Row]) -> Json {
        serde_json::from_str(&report(&Machine::look(), true, rows)).unwrap()
    }

    #[test]
    fn the_shape_is_the_documented_one() {
        let report = parsed(&[sample_row(), failed_row()]);
        assert_eq!(report["schema"], "brigade-compare");
        assert_eq!(report["version"], 1);
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
