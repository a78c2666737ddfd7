//! Charts as inline SVG. Colours are the page's; every chart has its numbers in words beside it.

use super::timeline::Counts;
use crate::clock::Timestamp;
use std::fmt::Write as _;

/// Classes of the three outcomes, from the bottom of a bar upward.
const CLASSES: [&str; 3] = ["ok", "denied", "failed"];

/// Bars over time, each stacked of what was done, refused and failed, with axes.
pub fn timeline(bars: &[(Timestamp, Counts)], unit: &str) -> String {
    const WIDTH: f64 = 920.0;
    const HEIGHT: f64 = 240.0;
    const LEFT: f64 = 56.0;
    const BOTTOM: f64 = 28.0;
    const TOP: f64 = 12.0;
    let most = bars
        .iter()
        .map(|(_, counts)| total(counts))
        .max()
        .unwrap_or(0);
    let ceiling = round_up(most.max(1));
    let (plot_width, plot_height) = (WIDTH - LEFT, HEIGHT - BOTTOM - TOP);
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"over-time-title over-time-desc\">\n\
         <title id=\"over-time-title\">Entries over time, by outcome</title>\n\
         <desc id=\"over-time-desc\">{} bars, one for each {unit}; the highest has {most} entries. \
         The table below has the numbers.</desc>\n",
        bars.len()
    );
    for step in 0..=4u64 {
        let value = ceiling * step / 4;
        let y = TOP + plot_height * (1.0 - step as f64 / 4.0);
        push(
            &mut svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\n",
                LEFT - 8.0,
                y + 4.0
            ),
        );
    }
    let pitch = plot_width / bars.len().max(1) as f64;
    let width = (pitch * 0.8).clamp(1.0, 48.0);
    // A label for about every seventh part of the axis.
    let every = bars.len().div_ceil(7).max(1);
    for (number, (at, counts)) in bars.iter().enumerate() {
        let x = LEFT + pitch * (number as f64 + 0.5) - width / 2.0;
        let mut base = TOP + plot_height;
        for (class, count) in CLASSES.iter().zip(counts) {
            if *count == 0 {
                continue;
            }
            // What is there is seen, however little it is.
            let height = (plot_height * *count as f64 / ceiling as f64).max(1.5);
            base -= height;
            push(
                &mut svg,
                format_args!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{base:.1}\" width=\"{width:.1}\" \
                     height=\"{height:.1}\"/>"
                ),
            );
        }
        if number % every == 0 && number + every / 2 < bars.len().max(every) {
            push(
                &mut svg,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{}</text>",
                    x + width / 2.0,
                    HEIGHT - 8.0,
                    if number == 0 { "start" } else { "middle" },
                    label(*at, unit)
                ),
            );
        }
        svg.push('\n');
    }
    svg.push_str("</svg>\n");
    svg
}

/// A small one for a table's cell, of the same stretches.
pub fn spark(bars: &[(Timestamp, Counts)]) -> String {
    const WIDTH: f64 = 180.0;
    const HEIGHT: f64 = 24.0;
    let most = bars
        .iter()
        .map(|(_, counts)| total(counts))
        .max()
        .unwrap_or(0);
    let pitch = WIDTH / bars.len().max(1) as f64;
    let width = (pitch * 0.8).clamp(1.0, 12.0);
    let mut svg = format!(
        "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-hidden=\"true\" \
         focusable=\"false\">"
    );
    for (number, (_, counts)) in bars.iter().enumerate() {
        let x = pitch * number as f64;
        let mut base = HEIGHT;
        for (class, count) in CLASSES.iter().zip(counts) {
            if *count == 0 {
                continue;
            }
            let height = (HEIGHT * *count as f64 / most as f64).max(1.5);
            base -= height;
            push(
                &mut svg,
                format_args!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" \
                     height=\"{height:.1}\"/>",
                    base.max(0.0)
                ),
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// The begin of a stretch, as short as its length allows.
pub fn label(at: Timestamp, unit: &str) -> String {
    let text = at.to_string();
    let (day, time) = (
        text.get(..10).unwrap_or_default(),
        text.get(11..16).unwrap_or_default(),
    );
    match unit {
        "minute" | "5 minutes" | "quarter of an hour" => time.to_owned(),
        "hour" | "6 hours" => format!("{} {time}", day.get(5..).unwrap_or_default()),
        _ => day.to_owned(),
    }
}

fn total(counts: &Counts) -> u64 {
    counts.iter().sum()
}

/// The next number that divides an axis into four well.
fn round_up(most: u64) -> u64 {
    let mut scale = 4;
    loop {
        for step in [1, 2, 3, 5] {
            if scale * step >= most {
                return scale * step;
            }
        }
        scale *= 10;
    }
}

fn push(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String never fails.
    let _ = svg.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_or_above_the_most_and_divides_by_four() {
        for most in [1, 4, 5, 13, 21, 99, 100, 101, 4_001, 1_000_000] {
            let ceiling = round_up(most);
            assert!(
                ceiling >= most && ceiling.is_multiple_of(4) && ceiling < most * 4 + 4,
                "{most}"
            );
        }
    }

    #[test]
    fn nothing_and_one_bar_are_charts_too() {
        for bars in [
            vec![],
            vec![(Timestamp(0), [0, 0, 0])],
            vec![(Timestamp(0), [1, 2, 3])],
        ] {
            let svg = timeline(&bars, "day") + &spark(&bars);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
