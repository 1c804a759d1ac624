//! Films, read and decoded apart from the program.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

/// A film's header, and its packets with their numbers.
pub(crate) struct Film {
    pub(crate) header: Vec<u8>,
    pub(crate) packets: Vec<(u64, Vec<u8>)>,
}

impl Film {
    pub(crate) fn read(bytes: &[u8]) -> Film {
        let mut rest = Cursor::new(bytes);
        ivf::read_header(&mut rest).expect("a header");
        let mut packets = Vec::new();
        while (rest.position() as usize) < bytes.len() {
            let packet = ivf::read_packet(&mut rest).expect("a packet");
            packets.push((packet.pts, packet.data.into_vec()));
        }
        let header = bytes[..32].to_vec();
        Film { header, packets }
    }

    /// The film of some packets alone.
    pub(crate) fn of(&self, packets: std::ops::Range<usize>) -> Vec<u8> {
        let mut bytes = self.header.clone();
        for (number, packet) in &self.packets[packets] {
            ivf::write_ivf_frame(&mut bytes, *number, packet);
        }
        bytes
    }
}

/// Whether a program of ffmpeg's is there. If not, says so.
pub(crate) fn is_installed(program: &str) -> bool {
    let there = Command::new(program).arg("-version").output().is_ok();
    if !there {
        println!("skipped, because {program} is not installed (apt-get install ffmpeg)");
    }
    there
}

/// The frames of a film as ffmpeg decodes them, each three planes.
pub(crate) fn decoded(film: &[u8], dir: &Path, size_of_frame: usize) -> Vec<Vec<u8>> {
    let path = dir.join("to-decode.ivf");
    fs::write(&path, film).expect("written");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(&path)
        .args(["-fps_mode", "passthrough", "-f", "rawvideo"])
        .args(["-pix_fmt", "yuv420p", "-"])
        .output()
        .expect("it starts");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{complaints}"
    );
    assert_eq!(output.stdout.len() % size_of_frame, 0);
    let frames = output.stdout.chunks_exact(size_of_frame);
    frames.map(<[u8]>::to_vec).collect()
}

/// How alike two pictures are, in decibels.
pub(crate) fn psnr(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let squares = one
        .iter()
        .zip(other)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    let mean = squares.sum::<f64>() / one.len() as f64;
    10.0 * (255.0 * 255.0 / mean).log10()
}
