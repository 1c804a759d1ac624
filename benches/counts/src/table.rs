//! What was counted: a line each, and what became of it since.

use std::fmt;
use std::str::FromStr;

/// By how many per cent something may get dearer unsaid.
pub const TOLERANCE: f64 = 2.0;

/// One thing that was counted.
pub struct Row {
    /// What it is called.
    pub path: String,
    /// Whose half of it this is.
    pub half: String,
    /// Instructions, each time.
    pub count: f64,
}

/// What was counted, a row a line, with tabs between; lines that begin with `#` say what it belongs
/// to.
pub struct Table(pub Vec<Row>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { path, half, count } in &self.0 {
            writeln!(f, "{path}\t{half}\t{count:.1}")?;
        }
        Ok(())
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Table, String> {
        let rows = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let mut fields = line.split('\t');
                let (path, half) = fields.next().zip(fields.next())?;
                Some(Row {
                    path: path.to_owned(),
                    half: half.to_owned(),
                    count: fields.next()?.parse().ok()?,
                })
            });
        let rows: Option<Vec<Row>> = rows.collect();
        rows.map(Table)
            .ok_or_else(|| "a line is no row of counts".to_owned())
    }
}

/// Prints both side by side. Gives how many got dearer by more than the tolerance.
pub fn compare(recorded: &Table, now: &Table) -> usize {
    println!(
        "{:<22} {:<18} {:>10} {:>10} {:>7}",
        "path", "half", "recorded", "now", "ratio"
    );
    let mut dearer = 0;
    for Row { path, half, count } in &now.0 {
        let before = recorded
            .0
            .iter()
            .find(|row| row.path == *path && row.half == *half);
        let Some(before) = before.map(|row| row.count) else {
            println!(
                "{path:<22} {half:<18} {:>10} {count:>10.1} {:>7}",
                "-", "new"
            );
            continue;
        };
        let ratio = count / before;
        let is_dearer = ratio > 1.0 + TOLERANCE / 100.0;
        dearer += usize::from(is_dearer);
        let note = if is_dearer { "  DEARER" } else { "" };
        println!("{path:<22} {half:<18} {before:>10.1} {count:>10.1} {ratio:>7.3}{note}");
    }
    for Row { path, half, count } in &recorded.0 {
        if !now
            .0
            .iter()
            .any(|row| row.path == *path && row.half == *half)
        {
            println!(
                "{path:<22} {half:<18} {count:>10.1} {:>10} {:>7}",
                "-", "gone"
            );
        }
    }
    dearer
}
