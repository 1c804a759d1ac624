//! What callgrind writes: its [format](https://valgrind.org/docs/manual/cl-format.html), as far as
//! it is needed here.
//!
//! A function's own costs and those of what it calls are lines of numbers under its `fn=`; the last
//! number of each is the cost.

use std::collections::HashMap;

use crate::marks::ALL;
use crate::table::{Row, Table};

/// The costs inside of each mark, divided by how often it was run.
pub fn read(profile: &str) -> Result<Table, String> {
    let mut costs = HashMap::new();
    let mut names = HashMap::new();
    let mut current = None;
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            current = mark(resolve(name, &mut names)?);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            // Names are given where they come first.
            resolve(name, &mut names)?;
        } else if let Some(name) = current
            && line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c))
        {
            let cost = line
                .split_whitespace()
                .last()
                .and_then(|n| n.parse::<u64>().ok());
            *costs.entry(name).or_insert(0) += cost.ok_or_else(|| format!("no cost: {line}"))?;
        }
    }
    let rows = ALL.iter().map(|mark| {
        let cost = costs.get(mark.name).copied().unwrap_or(0);
        if cost == 0 {
            return Err(format!("nothing was counted in {}", mark.name));
        }
        Ok(Row {
            path: mark.path.to_owned(),
            half: mark.half.to_owned(),
            count: cost as f64 / f64::from(mark.times),
        })
    });
    Ok(Table(rows.collect::<Result<_, String>>()?))
}

/// `(number) name` the first time, `(number)` after that.
fn resolve<'p>(name: &'p str, names: &mut HashMap<&'p str, &'p str>) -> Result<&'p str, String> {
    match name.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            Ok(name)
        }
        None => names
            .get(name)
            .copied()
            .ok_or_else(|| format!("no name: {name}")),
    }
}

/// The mark that a function of this name is.
fn mark(function: &str) -> Option<&'static str> {
    let (_, name) = function.split_once("brigade_counts::marks::")?;
    let mark = ALL.iter().find(|mark| {
        name.strip_prefix(mark.name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('<'))
    });
    mark.map(|mark| mark.name)
}
