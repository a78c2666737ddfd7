//! The page itself. Everything that came from people goes through [`Escaped`].

use super::chart;
use super::escaped::Escaped;
use super::facts::{Facts, Groups, List};
use super::timeline::Counts;
use crate::clock::Timestamp;
use crate::ledger::{Report, to_base64};
use std::fmt::{self, Write as _};

const STYLE: &str = include_str!("page.css");
/// What a page that is looked at offline may load: nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// Rows of a table of groups; the rest is summed up.
const ROWS_MAX: usize = 40;

/// A page that is being written.
struct Page(String);

impl Page {
    fn add(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a String never fails.
        let _ = self.0.write_fmt(text);
    }

    fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }
}

/// The page of an export that verified.
pub fn page(report: &Report, facts: &Facts) -> String {
    let mut page = Page(String::with_capacity(64 << 10));
    page.add(format_args!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>Ledger export, {} entries: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <main>\n<h1>Ledger export</h1>\n<p class=\"soft\">{}</p>\n",
        grouped(report.to - report.from),
        Escaped(&report.ticket),
        Escaped(&report.checkpoint.origin),
    ));
    proof(&mut page, report);
    summary(&mut page, report, facts);
    over_time(&mut page, facts);
    releases(&mut page, facts);
    denials(&mut page, facts);
    list(
        &mut page,
        "Key events",
        "keys",
        &facts.keys,
        "No key was made or destroyed, and the vault was neither sealed nor unsealed, in what is shown.",
    );
    list(
        &mut page,
        "Principals and allow-list",
        "administration",
        &facts.administration,
        "Nothing was changed in what is shown.",
    );
    gaps(&mut page, facts);
    list(
        &mut page,
        "Failures",
        "failures",
        &facts.failures,
        "Nothing failed, and nothing stored was found changed, in what is shown.",
    );
    list(
        &mut page,
        "Exports of this ledger",
        "exports",
        &facts.exports,
        "None in what is shown.",
    );
    page.add(format_args!(
        "<footer>Made by payvault {} from the export alone. The same export gives the same page. The \
         page proves nothing by itself: keep the export, and verify it with \
         <code>payvault log verify</code> or <code>tools/verify_export.py</code>.</footer>\n\
         </main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    ));
    page.0
}

fn proof(page: &mut Page, report: &Report) {
    page.add(format_args!(
        "<section class=\"proof\" aria-labelledby=\"proof\">\n<h2 id=\"proof\">The export verified</h2>\n\
         <p>Nothing was added, dropped or changed between entries {} and {}: each line hashes to its \
         leaf, and the leaves to the root of the checkpoint, which is signed with the key that was \
         given.</p>\n<ul>\n",
        grouped(report.from),
        grouped(report.to),
    ));
    page.add(format_args!(
        "<li>{} entries are open, and what this page tells is of them.</li>\n\
         <li>{} are closed: {}.</li>\n<li>{} are erased{}.</li>\n</ul>\n</section>\n",
        grouped(report.open),
        grouped(report.closed),
        match (report.closed, report.closed_by_time) {
            (0, _) => "the filter leaves nothing out".to_owned(),
            (_, 0) => "each shows that it misses the filter".to_owned(),
            (_, by_time) => format!(
                "each shows that it misses the filter, but for {} closed by time alone, where the \
                 window's edges are the vault's word",
                grouped(by_time)
            ),
        },
        grouped(report.erased),
        match report.erased {
            0 => "",
            _ => ": their keys were destroyed, and an entry of this export says so",
        },
    ));
}

fn summary(page: &mut Page, report: &Report, facts: &Facts) {
    page.text("<section aria-labelledby=\"summary\">\n<h2 id=\"summary\">Summary</h2>\n<div class=\"figures\">\n");
    let [done, denied, failed] = facts.outcomes;
    let figures = [
        (report.open, "entries open"),
        (report.closed, "closed by the filter"),
        (report.erased, "erased"),
        (done, "done"),
        (denied, "denied"),
        (failed, "failed"),
    ];
    for (count, what) in figures {
        page.add(format_args!(
            "<div class=\"figure\"><b>{}</b><span>{what}</span></div>\n",
            grouped(count)
        ));
    }
    page.text("</div>\n<dl>\n");
    let period = match facts.period {
        Some((first, last)) => format!("{} to {}", moment(first), moment(last)),
        None => "no entry is open".to_owned(),
    };
    let filter = filter(report);
    let rows = [
        ("Period shown", period),
        (
            "Asked for by",
            format!("{} ({})", report.requested_by_name, report.requested_by),
        ),
        ("Asked for at", moment(report.at)),
        ("Reason", report.reason.clone()),
        ("Ticket", report.ticket.clone()),
        ("Filter", filter),
        (
            "Range",
            format!(
                "entries {} up to {}",
                grouped(report.from),
                grouped(report.to)
            ),
        ),
        (
            "Checkpoint",
            format!("{} entries", grouped(report.checkpoint.size)),
        ),
    ];
    for (name, value) in rows {
        page.add(format_args!(
            "<dt>{name}</dt><dd>{}</dd>\n",
            Escaped(&value)
        ));
    }
    for (name, value) in [
        ("Root", &to_base64(&report.checkpoint.root)),
        ("Key", &report.key),
    ] {
        page.add(format_args!(
            "<dt>{name}</dt><dd><code>{}</code></dd>\n",
            Escaped(value)
        ));
    }
    page.text("</dl>\n</section>\n");
}

fn filter(report: &Report) -> String {
    let mut parts = Vec::new();
    let filter = &report.filter;
    if !filter.sites.is_empty() {
        let sites: Vec<&str> = filter.sites.iter().map(|site| site.as_str()).collect();
        parts.push(format!("sites {}", sites.join(", ")));
    }
    if !filter.kinds.is_empty() {
        let kinds: Vec<&str> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
        parts.push(format!("kinds {}", kinds.join(", ")));
    }
    if let Some(from) = filter.from_time {
        parts.push(format!("from {}", moment(from)));
    }
    if let Some(to) = filter.to_time {
        parts.push(format!("before {}", moment(to)));
    }
    match parts.is_empty() {
        true => "none: everything is shown".to_owned(),
        false => parts.join("; "),
    }
}

fn over_time(page: &mut Page, facts: &Facts) {
    page.text("<section aria-labelledby=\"time\">\n<h2 id=\"time\">Entries over time</h2>\n");
    let bars = facts.timeline.bars(None);
    if bars.is_empty() {
        page.text("<p>No entry is open.</p>\n</section>\n");
        return;
    }
    let unit = facts.timeline.unit();
    page.text("<ul class=\"legend\">");
    for (class, name) in [("ok", "done"), ("denied", "denied"), ("failed", "failed")] {
        page.add(format_args!(
            "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\" focusable=\"false\"><rect \
             class=\"{class}\" width=\"10\" height=\"10\"/></svg>{name}</li>"
        ));
    }
    page.add(format_args!(
        "<li class=\"soft\">one bar each {unit}, UTC</li></ul>\n"
    ));
    page.text(&chart::timeline(&bars, unit));
    page.text("<h3>By kind</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">kind</th><th scope=\"col\" class=\"n\">done</th><th scope=\"col\" class=\"n\">denied</th><th scope=\"col\" class=\"n\">failed</th><th scope=\"col\">over the same time</th></tr></thead>\n<tbody>\n");
    for (event, counts) in &facts.kinds {
        page.add(format_args!(
            "<tr><th scope=\"row\"><code>{}</code></th>",
            event.as_str()
        ));
        numbers(page, counts);
        page.add(format_args!(
            "<td>{}</td></tr>\n",
            chart::spark(&facts.timeline.bars(Some(*event)))
        ));
    }
    page.add(format_args!(
        "</tbody></table></div>\n<details><summary>The chart in numbers</summary>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">{unit} from</th><th scope=\"col\" \
         class=\"n\">done</th><th scope=\"col\" class=\"n\">denied</th><th scope=\"col\" \
         class=\"n\">failed</th></tr></thead>\n<tbody>\n"
    ));
    for (at, counts) in bars.iter().filter(|(_, counts)| *counts != [0, 0, 0]) {
        page.add(format_args!(
            "<tr><th scope=\"row\" class=\"t\">{}</th>",
            moment(*at)
        ));
        numbers(page, counts);
        page.text("</tr>\n");
    }
    page.text("</tbody></table></div></details>\n</section>\n");
}

fn numbers(page: &mut Page, counts: &Counts) {
    for count in counts {
        page.add(format_args!("<td class=\"n\">{}</td>", grouped(*count)));
    }
}

fn releases(page: &mut Page, facts: &Facts) {
    page.text("<section aria-labelledby=\"releases\">\n<h2 id=\"releases\">Releases by party and purpose</h2>\n");
    let columns = ["party", "purpose", "released", "released again", "refused"];
    let none = "No redemption was asked for in what is shown.";
    groups(page, &facts.releases, &columns, none, |(party, purpose)| {
        [party, purpose]
    });
    page.text("</section>\n");
}

fn denials(page: &mut Page, facts: &Facts) {
    page.text("<section aria-labelledby=\"denials\">\n<h2 id=\"denials\">Denials and their reasons</h2>\n");
    let none = "Nothing was denied in what is shown.";
    let columns = ["asked for", "reason", "denials"];
    groups(page, &facts.reasons, &columns, none, |(event, reason)| {
        [event, reason]
    });
    if !facts.refused.of.is_empty() {
        page.text("<h3>Who was refused, and from where</h3>\n");
        let columns = ["who", "from", "denials"];
        groups(page, &facts.refused, &columns, none, |(who, from)| {
            [who, from]
        });
    }
    page.text("</section>\n");
}

/// A table of groups.
fn groups<K: Ord>(
    page: &mut Page,
    groups: &Groups<K>,
    columns: &[&str],
    none: &str,
    names: impl Fn(&K) -> [&String; 2],
) {
    if groups.of.is_empty() {
        page.add(format_args!("<p>{none}</p>\n"));
        return;
    }
    page.text("<div class=\"scroll\"><table>\n<thead><tr>");
    for (place, column) in columns.iter().enumerate() {
        let class = if place < 2 { "" } else { " class=\"n\"" };
        page.add(format_args!("<th scope=\"col\"{class}>{column}</th>"));
    }
    page.text("</tr></thead>\n<tbody>\n");
    let shown = columns.len() - 2;
    let mut rows: Vec<(&K, &Counts)> = groups.of.iter().collect();
    // What fits is read by name, as it is kept; of more, the largest come first.
    if rows.len() > ROWS_MAX || shown == 1 {
        rows.sort_by_key(|(_, counts)| u64::MAX - counts.iter().sum::<u64>());
    }
    let mut rest = groups.others;
    for (place, (group, counts)) in rows.iter().enumerate() {
        if place >= ROWS_MAX {
            rest.iter_mut()
                .zip(*counts)
                .for_each(|(sum, count)| *sum += count);
            continue;
        }
        let [first, second] = names(group);
        page.add(format_args!(
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            Escaped(first),
            Escaped(second)
        ));
        for count in &counts[..shown] {
            page.add(format_args!("<td class=\"n\">{}</td>", grouped(*count)));
        }
        page.text("</tr>\n");
    }
    if rest != [0, 0, 0] {
        page.text("<tr><th scope=\"row\">all others</th><td></td>");
        for count in &rest[..shown] {
            page.add(format_args!("<td class=\"n\">{}</td>", grouped(*count)));
        }
        page.text("</tr>\n");
    }
    page.text("</tbody></table></div>\n");
}

fn gaps(page: &mut Page, facts: &Facts) {
    page.text("<section aria-labelledby=\"gaps\">\n<h2 id=\"gaps\">Gaps and clock steps</h2>\n");
    page.add(format_args!(
        "<p>{} steps of the clock; {} starts without a stop before them (the vault was killed, or \
         lost its power). Indexes have no gap: that is proven above.</p>\n",
        grouped(facts.clock_steps),
        grouped(facts.hard_ends)
    ));
    if !facts.silences.is_empty() {
        page.text("<h3>The longest stretches without an entry that is shown</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">after</th><th scope=\"col\" class=\"n\">entry</th><th scope=\"col\" class=\"n\">for</th></tr></thead>\n<tbody>\n");
        for (length, index, after) in &facts.silences {
            page.add(format_args!(
                "<tr><th scope=\"row\" class=\"t\">{}</th><td class=\"n\">{index}</td><td \
                 class=\"n\">{}</td></tr>\n",
                moment(*after),
                length_in_words(*length)
            ));
        }
        page.text("</tbody></table></div>\n");
    }
    page.text("<h3>Starts, stops, clock, backups and restores</h3>\n");
    rows(page, &facts.running, "None in what is shown.");
    page.text("</section>\n");
}

fn list(page: &mut Page, title: &str, id: &str, list: &List, none: &str) {
    page.add(format_args!(
        "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n"
    ));
    rows(page, list, none);
    page.text("</section>\n");
}

fn rows(page: &mut Page, list: &List, none: &str) {
    if list.rows.is_empty() {
        page.add(format_args!("<p>{none}</p>\n"));
        return;
    }
    page.text("<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\" class=\"n\">entry</th><th scope=\"col\">at</th><th scope=\"col\">event</th><th scope=\"col\">outcome</th><th scope=\"col\">who</th><th scope=\"col\">detail</th></tr></thead>\n<tbody>\n");
    for row in &list.rows {
        page.add(format_args!(
            "<tr><th scope=\"row\" class=\"n\">{}</th><td class=\"t\">{}</td><td><code>{}</code></td>\
             <td>{}</td><td class=\"wide\">{}</td><td class=\"wide\">{}</td></tr>\n",
            row.index,
            moment(row.at),
            row.event.as_str(),
            row.outcome.as_str(),
            Escaped(&row.who),
            Escaped(&row.detail)
        ));
    }
    page.text("</tbody></table></div>\n");
    if list.more > 0 {
        page.add(format_args!(
            "<p>and {} more, which the export holds.</p>\n",
            grouped(list.more)
        ));
    }
}

/// A time to the second, in UTC.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time}"),
        _ => text,
    }
}

fn length_in_words(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}.{:03} s", seconds, ms % 1_000),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{} d {hours} h", grouped(days)),
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 6);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths_are_read_at_a_glance() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1\u{202f}000");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(length_in_words(7), "0.007 s");
        assert_eq!(length_in_words(61_000), "1 min 1 s");
        assert_eq!(length_in_words(3_660_000), "1 h 1 min");
        assert_eq!(length_in_words(86_400_000 * 1_500), "1\u{202f}500 d 0 h");
        assert_eq!(moment(Timestamp(1_795_459_455_007)), "2026-11-23 18:44:15");
    }
}
