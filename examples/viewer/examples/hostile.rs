//! Writes documents that are meant to do harm into a directory:
//!
//! ```sh
//! cargo run -p viewer --example hostile -- /tmp/hostile
//! ```

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let dir = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "hostile".to_owned());
    write_into(Path::new(&dir))
}

/// Writes all of them.
pub(crate) fn write_into(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for (name, document) in all() {
        std::fs::write(dir.join(name), document)?;
    }
    Ok(())
}

/// Each with its name.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    vec![
        ("reads-a-file.svg", reads("/etc/passwd")),
        ("reads-itself.svg", reads("/proc/self/maps")),
        ("nested-references.svg", nested_references()),
        ("endless-noise.svg", noise("", 1_000_000)),
        ("memory-bomb.svg", many_pictures()),
        ("picture-of-terabytes.svg", noise(LARGE, 1)),
        ("chain-of-clip-paths.svg", clip_paths(40_000)),
        ("no-document.svg", "<svg".repeat(1000)),
    ]
}

fn svg(content: &str) -> String {
    format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 100 100\">{content}</svg>")
}

/// The library's default resolver opens what an image refers to.
fn reads(path: &str) -> String {
    svg(&format!(
        "<image href=\"{path}\" width=\"100\" height=\"100\"/>"
    ))
}

/// Each group is ten of the one before: 10^12 paths.
fn nested_references() -> String {
    let groups: String = (1..=12)
        .map(|n| {
            let ten = format!("<use href=\"#g{}\"/>", n - 1).repeat(10);
            format!("<g id=\"g{n}\">{ten}</g>")
        })
        .collect();
    svg(&format!(
        "<defs><path id=\"g0\" d=\"M0 0h1v1z\"/>{groups}</defs><use href=\"#g12\"/>"
    ))
}

/// Each is within the one before, which is resolved by recursion.
fn clip_paths(count: usize) -> String {
    let links: String = (1..count)
        .map(|n| {
            let before = n - 1;
            format!("<clipPath id=\"c{n}\" clip-path=\"url(#c{before})\"><path d=\"M0 0h50v50z\"/></clipPath>")
        })
        .collect();
    let last = count - 1;
    svg(&format!(
        "<defs><clipPath id=\"c0\"><path d=\"M0 0h50v50z\"/></clipPath>{links}</defs>\
         <rect width=\"90\" height=\"90\" clip-path=\"url(#c{last})\"/>"
    ))
}

/// A filter that keeps a picture of the whole canvas for each of its steps.
fn many_pictures() -> String {
    let steps: String = (0..5000)
        .map(|n| format!("<feFlood flood-color=\"red\" flood-opacity=\"0.5\" result=\"r{n}\"/>"))
        .collect();
    svg(&format!(
        "<filter id=\"f\" x=\"0\" y=\"0\" width=\"1\" height=\"1\">{steps}</filter>\
         <rect width=\"100\" height=\"100\" filter=\"url(#f)\"/>"
    ))
}

/// A filter's region that is three thousand times as wide and high as what it is for.
const LARGE: &str = "x=\"-1000\" y=\"-1000\" width=\"3000\" height=\"3000\"";

/// Noise of so many layers, each computed for each pixel of a region.
fn noise(region: &str, layers: u32) -> String {
    svg(&format!(
        "<filter id=\"f\" {region}><feTurbulence baseFrequency=\"0.01\" numOctaves=\"{layers}\"/></filter>\
         <rect width=\"90\" height=\"90\" filter=\"url(#f)\"/>"
    ))
}
