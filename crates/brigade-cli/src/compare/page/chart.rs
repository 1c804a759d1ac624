//! Line charts as static SVG: they need no script, and print as they are.
//!
//! A line is told from the others by its name at its end, by the shape of its marks and by its
//! dashes; colour comes last. Each chart is drawn twice, for wide and for narrow screens, so that
//! its letters keep their size; the style sheet shows one of the two.

use std::fmt::Write as _;

use super::super::format::Unit;
use super::html::esc;
use super::scale::{Scale, range, share, ticks};

/// One axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// What it shows, with its unit in words.
    pub(super) label: &'static str,
    pub(super) unit: Unit,
    pub(super) scale: Scale,
}

/// A point, with the quartiles where it has some.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) spread: Option<(f64, f64)>,
}

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
    /// Which of the styles of lines, 0 to 5.
    pub(super) style: usize,
    /// A shape at each point; without, it is a curve of a formula.
    pub(super) has_marks: bool,
}

/// A chart.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    /// Distinct on the page.
    pub(super) id: &'static str,
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// A horizontal line, and what it says.
    pub(super) mark: Option<(f64, &'static str)>,
}

const WIDE: Size = Size {
    name: "wide",
    width: 660.0,
    height: 330.0,
};
const NARROW: Size = Size {
    name: "narrow",
    width: 330.0,
    height: 290.0,
};

#[derive(Clone, Copy)]
struct Size {
    name: &'static str,
    width: f64,
    height: f64,
}

const TOP: f64 = 24.0;
const BOTTOM: f64 = 40.0;
/// Of a letter in the charts' font, on average, and of one in bold.
const LETTER: f64 = 6.6;
const BOLD: f64 = 7.8;
/// Of one in the text of a tick, at most.
const TICK: f64 = 8.0;
/// Between two names at the ends of lines.
const LINE_HEIGHT: f64 = 15.0;

impl Chart {
    /// Both drawings; nothing where no line has two points.
    pub(super) fn svg(&self) -> Option<String> {
        let shown = self.shown();
        if !shown.lines.iter().any(|line| line.points.len() > 1) {
            return None;
        }
        let drawings = [WIDE, NARROW].map(|size| Drawing::of(&shown, size).svg());
        Some(drawings.concat())
    }

    /// Without what has no place on a logarithmic axis.
    fn shown(&self) -> Self {
        let has_place = |axis: &Axis, value: f64| {
            value.is_finite() && (axis.scale == Scale::Linear || value > 0.0)
        };
        let mut shown = self.clone();
        for line in &mut shown.lines {
            line.points
                .retain(|point| has_place(&self.x, point.x) && has_place(&self.y, point.y));
        }
        shown.lines.retain(|line| !line.points.is_empty());
        shown
    }

    /// What the lines do, in words.
    fn description(&self) -> String {
        let said = |point: &Point| {
            format!(
                "{} at {}",
                self.y.unit.one(point.y),
                self.x.unit.one(point.x)
            )
        };
        let lines = self.lines.iter().filter_map(|line| {
            let (first, last) = (line.points.first()?, line.points.last()?);
            Some(format!("{}: {}, {}.", line.name, said(first), said(last)))
        });
        lines.collect::<Vec<_>>().join(" ")
    }
}

/// A chart at one size.
struct Drawing<'a> {
    chart: &'a Chart,
    size: Size,
    left: f64,
    right: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl<'a> Drawing<'a> {
    fn of(chart: &'a Chart, size: Size) -> Self {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let longest = chart
            .lines
            .iter()
            .map(|line| line.name.chars().count())
            .max();
        let x = range(points().map(|point| point.x));
        let mut y = range(
            points()
                .map(|point| point.y)
                .chain(chart.mark.map(|mark| mark.0)),
        );
        if chart.y.scale == Scale::Log {
            // Whole powers of ten, so that the grid begins and ends with a line.
            y = (
                10_f64.powf((y.0.log10() + 1e-9).floor()),
                10_f64.powf((y.1.log10() - 1e-9).ceil()),
            );
        } else {
            y = (0.0, y.1 * 1.05);
        }
        let widest = ticks(chart.y.scale, y)
            .into_iter()
            .map(|value| chart.y.unit.one(value).chars().count())
            .max();
        Self {
            chart,
            size,
            left: 10.0 + widest.unwrap_or(0) as f64 * TICK,
            right: size.width - 14.0 - longest.unwrap_or(0) as f64 * BOLD,
            x,
            y,
        }
    }

    fn at_x(&self, value: f64) -> f64 {
        self.left + share(self.chart.x.scale, self.x, value) * (self.right - self.left)
    }

    fn at_y(&self, value: f64) -> f64 {
        let bottom = self.size.height - BOTTOM;
        let share = share(self.chart.y.scale, self.y, value);
        bottom - share.clamp(0.0, 1.0) * (bottom - TOP)
    }

    fn svg(&self) -> String {
        let Size {
            name,
            width,
            height,
        } = self.size;
        let id = format!("{}-{name}", self.chart.id);
        let mut out = format!(
            "<svg class=\"chart {name}\" role=\"img\" viewBox=\"0 0 {width} {height}\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            esc(&self.chart.title),
            esc(&self.chart.description()),
        );
        self.draw_grid(&mut out);
        self.draw_mark(&mut out);
        for line in &self.chart.lines {
            self.draw_line(&mut out, line);
        }
        self.draw_names(&mut out);
        out.push_str("</svg>\n");
        out
    }

    fn draw_grid(&self, out: &mut String) {
        let (left, bottom) = (self.left, self.size.height - BOTTOM);
        for value in ticks(self.chart.y.scale, self.y) {
            let y = self.at_y(value);
            let text = self.chart.y.unit.one(value);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                self.right,
                left - 6.0,
                y + 4.0,
            );
        }
        let _ = write!(
            out,
            "<text class=\"axis\" x=\"0\" y=\"12\">{}</text><path class=\"base\" d=\"M{left:.1} {bottom}H{:.1}\"/>",
            esc(self.chart.y.label),
            self.right,
        );
        // A tick without room for its text has none.
        let mut free = f64::NEG_INFINITY;
        for value in self.x_ticks() {
            let x = self.at_x(value);
            let text = self.chart.x.unit.one(value);
            let half = text.chars().count() as f64 * LETTER / 2.0;
            let _ = write!(out, "<path class=\"base\" d=\"M{x:.1} {bottom}v4\"/>");
            if x - half > free {
                let _ = write!(
                    out,
                    "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    bottom + 17.0,
                    esc(&text),
                );
                free = x + half + 4.0;
            }
        }
        let _ = write!(
            out,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(left, self.right),
            self.size.height - 5.0,
            esc(self.chart.x.label),
        );
    }

    /// Where something was measured; along a curve, the powers of ten.
    fn x_ticks(&self) -> Vec<f64> {
        let marked = self.chart.lines.iter().filter(|line| line.has_marks);
        let mut places: Vec<f64> = marked
            .flat_map(|line| line.points.iter().map(|point| point.x))
            .collect();
        if places.is_empty() {
            return ticks(self.chart.x.scale, self.x);
        }
        places.sort_by(f64::total_cmp);
        places.dedup();
        places
    }

    fn draw_mark(&self, out: &mut String) {
        if let Some((value, text)) = self.chart.mark {
            let (left, y) = (self.left, self.at_y(value));
            let _ = write!(
                out,
                "<path class=\"mark\" d=\"M{left:.1} {y:.1}H{:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                self.right,
                left + 4.0,
                y - 4.0,
                esc(text),
            );
        }
    }

    fn draw_line(&self, out: &mut String, line: &Line) {
        let style = line.style;
        let _ = write!(
            out,
            "<g class=\"line s{style}\"><path class=\"stroke\" d=\""
        );
        for (index, point) in line.points.iter().enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            let (x, y) = (self.at_x(point.x), self.at_y(point.y));
            let _ = write!(out, "{letter}{x:.1} {y:.1}");
        }
        out.push_str("\"/>");
        for point in line.points.iter().filter(|_| line.has_marks) {
            let (x, y) = (self.at_x(point.x), self.at_y(point.y));
            let _ = write!(
                out,
                "<g class=\"point\" data-value=\"{}\"><title>{}, {}: {}</title>",
                point.y,
                esc(&line.name),
                esc(&self.chart.x.unit.one(point.x)),
                esc(&self.chart.y.unit.one(point.y)),
            );
            let spread = point
                .spread
                .filter(|(lower, _)| self.chart.y.scale == Scale::Linear || *lower > 0.0);
            if let Some((lower, upper)) = spread {
                let (low, high) = (self.at_y(lower), self.at_y(upper));
                let _ = write!(
                    out,
                    "<path class=\"spread\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>"
                );
            }
            let _ = write!(
                out,
                "<path class=\"shape\" d=\"{}\"/></g>",
                shape(style, x, y)
            );
        }
        out.push_str("</g>");
    }

    fn ends_at_right(&self, line: &Line) -> bool {
        let last = line
            .points
            .last()
            .map_or(self.left, |last| self.at_x(last.x));
        line.has_marks || last + line.name.chars().count() as f64 * BOLD > self.right
    }

    /// Each name beside the end of its line, as near as the others let it.
    fn draw_names(&self, out: &mut String) {
        let (mut names, short): (Vec<_>, Vec<_>) = self
            .chart
            .lines
            .iter()
            .filter_map(|line| Some((self.at_y(line.points.last()?.y), line)))
            .partition(|(_, line)| self.ends_at_right(line));
        // A curve that leaves the chart at its foot has its name there.
        for (y, line) in short {
            let x = line
                .points
                .last()
                .map_or(self.left, |last| self.at_x(last.x));
            let _ = write!(
                out,
                "<g class=\"line s{}\"><text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
                line.style,
                x + 4.0,
                y - 8.0,
                esc(&line.name),
            );
        }
        names.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut places: Vec<f64> = names.iter().map(|(y, _)| *y).collect();
        spread_out(&mut places, self.size.height - BOTTOM);
        for (place, (y, line)) in places.iter().zip(&names) {
            let Some(last) = line.points.last() else {
                continue;
            };
            let from = self.at_x(last.x) + 6.0;
            let to = self.right + 8.0;
            let _ = write!(
                out,
                "<g class=\"line s{}\"><path class=\"leader\" d=\"M{from:.1} {y:.1}L{to:.1} {place:.1}\"/>\
                 <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
                line.style,
                to + 3.0,
                place + 4.0,
                esc(&line.name),
            );
        }
    }
}

/// Moves places, from top to bottom, apart as far as text needs.
fn spread_out(places: &mut [f64], bottom: f64) {
    for index in 1..places.len() {
        places[index] = places[index].max(places[index - 1] + LINE_HEIGHT);
    }
    let mut limit = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - LINE_HEIGHT;
    }
}

/// The mark of a style around a place: circle, square, triangle, diamond, upturned triangle, cross.
fn shape(style: usize, x: f64, y: f64) -> String {
    match style {
        0 => format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", x - 4.0),
        1 => format!("M{:.1} {:.1}h7v7h-7z", x - 3.5, y - 3.5),
        2 => format!("M{x:.1} {:.1}l4.5 8h-9z", y - 5.0),
        3 => format!("M{x:.1} {:.1}l5 5l-5 5l-5 -5z", y - 5.0),
        4 => format!("M{x:.1} {:.1}l-4.5 -8h9z", y + 5.0),
        _ => format!("M{:.1} {:.1}l8 8m0 -8l-8 8", x - 4.0, y - 4.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, values: &[f64]) -> Chart {
        let axis = |scale| Axis {
            label: "an axis",
            unit: Unit::Nanoseconds,
            scale,
        };
        let point = |(index, value): (usize, &f64)| Point {
            x: index as f64,
            y: *value,
            spread: Some((value * 0.9, value * 1.1)),
        };
        Chart {
            id: "c",
            title: "A chart of <things>".into(),
            x: axis(Scale::Linear),
            y: axis(scale),
            lines: vec![Line {
                name: "a <line>".into(),
                points: values.iter().enumerate().map(point).collect(),
                style: 0,
                has_marks: true,
            }],
            mark: None,
        }
    }

    #[test]
    fn a_chart_is_drawn_twice_and_names_its_line() {
        let svg = chart(Scale::Log, &[10.0, 1000.0, 50.0]).svg().unwrap();
        assert_eq!(svg.matches("<svg").count(), 2);
        assert_eq!(svg.matches("data-value=\"1000\"").count(), 2);
        assert!(svg.contains("A chart of &lt;things&gt;") && svg.contains("a &lt;line&gt;"));
        assert!(
            svg.contains("a &lt;line&gt;: 10 ns at 0 ns, 50 ns at 2 ns."),
            "{svg}"
        );
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        assert!(chart(Scale::Log, &[0.0, 1.0]).svg().is_none());
        assert!(chart(Scale::Log, &[]).svg().is_none());
        for values in [[0.0, 0.0, 0.0], [1e-300, 1e300, f64::NAN], [5.0, 5.0, 5.0]] {
            for scale in [Scale::Linear, Scale::Log] {
                let svg = chart(scale, &values).svg().unwrap_or_default();
                assert!(
                    !svg.contains("NaN") && !svg.contains("inf"),
                    "{values:?}: {svg}"
                );
                assert!(svg.len() < 20_000, "{values:?}");
            }
        }
    }

    #[test]
    fn names_do_not_cover_each_other() {
        let mut places = [10.0, 11.0, 12.0, 200.0];
        spread_out(&mut places, 200.0);
        assert!(
            places
                .windows(2)
                .all(|two| two[1] - two[0] >= LINE_HEIGHT - 1e-9)
        );
        assert!(places[3] <= 200.0);
    }
}
