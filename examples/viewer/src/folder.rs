//! A directory of documents becomes one of pictures, with a verdict for each.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use crate::render;
use crate::tab::{Ended, Verdict, Viewer};

/// A larger one is no document.
const LARGEST: u64 = 32 << 20;

/// The documents in a directory, by name.
pub(crate) fn documents(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let named = |e: io::Error| format!("{}: {e}", dir.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(named)? {
        let path = entry.map_err(named)?.path();
        let is_document = path.extension().is_some_and(|e| e == "svg" || e == "svgz");
        if is_document && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The bytes of a document, or why it is not looked at.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    // One that grows meanwhile, or does not know how long it is, is held to the same.
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    if read.map_err(|e| e.to_string())? as u64 > LARGEST {
        return Err(format!("more than {LARGEST} bytes are no document"));
    }
    Ok(bytes)
}

/// A name or a text that a document has chosen, without what would move a terminal's cursor or turn
/// its text around.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        let is_harmful = c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if is_harmful {
            plain.extend(c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Where each document's picture is to be: named as it, and apart from those of others.
fn pictures(paths: &[PathBuf], out: &Path) -> Vec<PathBuf> {
    let mut taken = HashSet::new();
    let picture = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        let mut to = out.join(Path::new(name).with_extension("png"));
        while !taken.insert(to.clone()) {
            // `a.svg` and `a.svgz`.
            let mut longer = to.with_extension("").into_os_string();
            longer.push("-");
            longer.push(path.extension().unwrap_or_default());
            longer.push(".png");
            to = PathBuf::from(longer);
        }
        to
    };
    paths.iter().map(picture).collect()
}

/// Draws each document of a directory, and prints a verdict for each. Returns whether there is a
/// picture of each.
pub(crate) fn convert(
    viewer: &Viewer,
    dir: &Path,
    out: &Path,
    as_json: bool,
) -> Result<bool, String> {
    let paths = documents(dir)?;
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let pool = viewer.pool().map_err(|e| e.to_string())?;
    let start = Instant::now();
    let mut ends: HashMap<usize, Ended> = HashMap::new();
    let mut given = Vec::new();
    // Files are read as tabs have room for them.
    let inputs = paths
        .iter()
        .enumerate()
        .filter_map(|(index, path)| match read(path) {
            Ok(bytes) => {
                given.push(index);
                Some(viewer.document(bytes))
            }
            Err(why) => {
                let verdict = Verdict::Refused;
                ends.insert(
                    index,
                    Ended {
                        verdict,
                        why,
                        picture: None,
                    },
                );
                None
            }
        });
    let drawn: Vec<(usize, Ended)> = pool
        .map_unordered(render::render, inputs)
        .map(|(number, result)| (number, viewer.judge(result)))
        .collect();
    ends.extend(
        drawn
            .into_iter()
            .map(|(number, ended)| (given[number], ended)),
    );

    let mut rows = Vec::new();
    for (index, (path, to)) in paths.iter().zip(pictures(&paths, out)).enumerate() {
        let ended = ends.remove(&index).ok_or("a document without an end")?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(picture) = &ended.picture {
            let written = File::create(&to)
                .map_err(|e| e.to_string())
                .and_then(|file| {
                    picture
                        .write_png(BufWriter::new(file))
                        .map_err(|e| e.to_string())
                });
            written.map_err(|e| format!("{}: {e}", to.display()))?;
        }
        rows.push((name, ended));
    }
    if as_json {
        let rows: Vec<_> = (rows.iter())
            .map(|(name, end)| json!({ "document": name, "verdict": end.verdict, "why": end.why }))
            .collect();
        println!("{:#}", serde_json::Value::from(rows));
    } else {
        let widths = rows.iter().map(|(name, _)| plain(name).chars().count());
        let width = widths.max().unwrap_or(0);
        for (name, ended) in &rows {
            let why = plain(&ended.why);
            println!("{:<width$}  {:<9}  {why}", plain(name), ended.verdict);
        }
        let drawn = rows
            .iter()
            .filter(|(_, ended)| ended.picture.is_some())
            .count();
        println!("{drawn} of {} drawn in {:.1?}", rows.len(), start.elapsed());
    }
    Ok(rows
        .iter()
        .all(|(_, ended)| ended.verdict == Verdict::Drawn))
}
