//! `brigade inspect PID`: any program as the textbooks draw it, each process a box of its own
//! memory with its threads inside, and what connects them.
//!
//! - proc_dir: one process in /proc; process, descriptors, regions: what is read of it;
//!   unix_sockets, tcp: which socket is connected with which
//! - connections: the same object in several processes; look: the whole
//! - picture: what comes of it; text, pools: drawn; svg: the same as SVG; escape: names from
//!   outside

mod connections;
pub(crate) mod descriptors;
pub(crate) mod escape;
pub(crate) mod look;
pub(crate) mod picture;
pub(crate) mod pools;
pub(crate) mod proc_dir;
pub(crate) mod process;
mod regions;
mod svg;
mod tcp;
pub(crate) mod text;
mod unix_sockets;

use std::process::ExitCode;

use serde_json::json;

use self::picture::Picture;
use crate::cli::InspectArgs;
use crate::exit;
use crate::terminal::{self, COLUMNS, Color};

/// Of the JSON. Fields may be added without a new version.
const VERSION: u32 = 1;

/// `brigade inspect`.
pub(crate) fn run(args: &InspectArgs) -> ExitCode {
    let picture = match look::look(args.pid) {
        Ok(picture) => picture,
        Err(why) => {
            eprintln!("brigade: {why}");
            return ExitCode::from(exit::FAILED);
        }
    };
    let text = if args.json {
        format!("{:#}\n", to_json(&picture))
    } else if args.svg {
        svg::draw(&picture)
    } else {
        text::report(
            &picture,
            COLUMNS,
            args.color.unwrap_or(Color::Auto).decide(),
        )
    };
    if let Err(error) = terminal::print(&text) {
        eprintln!("brigade: writing the picture: {error}");
        return ExitCode::from(exit::FAILED);
    }
    let all_seen = picture.notes.is_empty();
    ExitCode::from(if all_seen { exit::DONE } else { exit::PARTLY })
}

fn to_json(picture: &Picture) -> serde_json::Value {
    let mut value = json!({
        "schema": "brigade-inspect",
        "version": VERSION,
        "program": env!("CARGO_PKG_VERSION"),
    });
    if let (Some(to), Ok(serde_json::Value::Object(from))) =
        (value.as_object_mut(), serde_json::to_value(picture))
    {
        to.extend(from);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_field() {
        let document = include_str!("../../docs/inspect-json.md");
        let mut fields = std::collections::BTreeSet::new();
        collect(
            &to_json(&look::look(std::process::id()).unwrap()),
            &mut fields,
        );
        assert!(fields.contains("descriptors") && fields.contains("tid"));
        for name in fields {
            assert!(
                document.contains(&format!("`{name}`")),
                "docs/inspect-json.md says nothing of `{name}`"
            );
        }
    }

    fn collect(value: &serde_json::Value, fields: &mut std::collections::BTreeSet<String>) {
        if let Some(object) = value.as_object() {
            fields.extend(object.keys().cloned());
        }
        let object = value
            .as_object()
            .into_iter()
            .flat_map(|object| object.values());
        let below = value.as_array().into_iter().flatten().chain(object);
        below.for_each(|value| collect(value, fields));
    }
}
