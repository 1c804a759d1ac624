//! What runs in the process of a tab: bytes in, pixels out.

use std::sync::{Arc, OnceLock};

use brigade::Shared;
use brigade::shm::Buffer;
use resvg::tiny_skia::{PixmapMut, Transform};
use resvg::usvg::{self, fontdb};
use serde::{Deserialize, Serialize};

/// Debian's `fonts-dejavu-core`. Where it is missing, texts are not drawn.
const FONTS: &str = "/usr/share/fonts/truetype/dejavu";

/// A document, and the picture that is wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    /// Pixels of its longer side, at most.
    pub(crate) size: u32,
}

/// What a document was drawn as. It comes from a process that may be hostile: see
/// [`crate::picture`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Drawn {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Four bytes for each pixel, premultiplied with their opacity.
    pub(crate) pixels: Shared<[u8]>,
}

static DATABASE: OnceLock<Arc<fontdb::Database>> = OnceLock::new();

/// Loads the fonts. It runs before the process is shut in, which has no files from then on.
pub(crate) fn load_fonts() {
    DATABASE.get_or_init(|| {
        let mut database = fontdb::Database::new();
        for entry in std::fs::read_dir(FONTS).into_iter().flatten().flatten() {
            // The bytes, and not the file's name, which would be opened when a text needs it.
            if let Ok(font) = std::fs::read(entry.path()) {
                database.load_font_data(font);
            }
        }
        database.set_sans_serif_family("DejaVu Sans");
        database.set_serif_family("DejaVu Serif");
        database.set_monospace_family("DejaVu Sans Mono");
        Arc::new(database)
    });
}

/// Draws a document. What it refers to is looked for as the library does by default, in files too:
/// that there are none is not this function's business.
pub(crate) fn render(document: Document) -> Result<Drawn, String> {
    let options = usvg::Options {
        fontdb: DATABASE.get().map(Arc::clone).unwrap_or_default(),
        font_family: "DejaVu Sans".to_owned(),
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_data(&document.bytes, &options).map_err(|e| e.to_string())?;
    let size = tree.size();
    let scale = document.size as f32 / size.width().max(size.height());
    let pixels = |length: f32| ((length * scale).ceil() as u32).clamp(1, document.size);
    let (width, height) = (pixels(size.width()), pixels(size.height()));
    // It is drawn where the program will read it.
    let mut buffer =
        Buffer::zeroed(width as usize * height as usize * 4).map_err(|e| e.to_string())?;
    let mut canvas = PixmapMut::from_bytes(&mut buffer, width, height)
        .ok_or_else(|| format!("no picture of {width} x {height} pixels"))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut canvas);
    Ok(Drawn {
        width,
        height,
        pixels: buffer.into_shared().map_err(|e| e.to_string())?,
    })
}
