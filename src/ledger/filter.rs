//! What an export is about, and by what an entry misses it.

use super::bucket::site_from_text;
use super::event::Event;
use super::lines::FilterMembers;
use super::recorded::time_from_text;
use crate::clock::Timestamp;
use crate::ids::Site;
use std::borrow::Cow;

/// Which entries an export shows. Everything that is not named is not filtered by.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Filter {
    /// Sites; empty for all. An auditor of some sites gets those of them that were asked for.
    pub sites: Vec<Site>,
    /// Events; empty for all.
    pub kinds: Vec<Event>,
    /// At or after this time.
    pub from_time: Option<Timestamp>,
    /// Before this time.
    pub to_time: Option<Timestamp>,
}

/// The first part of a filter that an entry misses. Site and kind can be shown without the entry;
/// time cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Another site.
    Site,
    /// Another event.
    Kind,
    /// Another time.
    Time,
}

impl Filter {
    /// By what an entry misses the filter; `None` when it matches.
    pub fn miss(&self, site: Site, event: Event, at: Timestamp) -> Option<Miss> {
        if !self.has_site(site) {
            Some(Miss::Site)
        } else if !self.has_kind(event) {
            Some(Miss::Kind)
        } else if self.is_early(at) || self.is_late(at) {
            Some(Miss::Time)
        } else {
            None
        }
    }

    pub(super) fn has_site(&self, site: Site) -> bool {
        self.sites.is_empty() || self.sites.contains(&site)
    }

    pub(super) fn has_kind(&self, event: Event) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&event)
    }

    pub(super) fn is_early(&self, at: Timestamp) -> bool {
        self.from_time.is_some_and(|from| at < from)
    }

    pub(super) fn is_late(&self, at: Timestamp) -> bool {
        self.to_time.is_some_and(|to| at >= to)
    }

    /// The names of the parts that no facet proves.
    pub fn unproven(&self) -> Vec<&'static str> {
        let times = [("from_time", self.from_time), ("to_time", self.to_time)];
        times
            .into_iter()
            .filter_map(|(name, time)| time.map(|_| name))
            .collect()
    }

    pub(super) fn members(&self) -> FilterMembers<'static> {
        let list = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.dedup();
            (!names.is_empty()).then(|| Cow::Owned(names.join(",")))
        };
        let time = |time: Option<Timestamp>| time.map(|time| Cow::Owned(time.to_string()));
        FilterMembers {
            from_time: time(self.from_time),
            kinds: list(self.kinds.iter().map(|kind| kind.as_str()).collect()),
            sites: list(self.sites.iter().map(Site::as_str).collect()),
            to_time: time(self.to_time),
        }
    }

    /// Reads the members; `None` for a list that is empty, out of order, or has a name twice or
    /// unknown, and for another spelling of a time.
    pub(super) fn parse(members: &FilterMembers<'_>) -> Option<Filter> {
        fn list<T>(
            text: Option<&Cow<'_, str>>,
            read: impl Fn(&str) -> Option<T>,
        ) -> Option<Vec<T>> {
            let Some(text) = text else {
                return Some(Vec::new());
            };
            if !text.split(',').is_sorted_by(|a, b| a < b) {
                return None;
            }
            text.split(',').map(read).collect()
        }
        fn time(text: Option<&Cow<'_, str>>) -> Option<Option<Timestamp>> {
            text.map_or(Some(None), |text| time_from_text(text).map(Some))
        }
        Some(Filter {
            sites: list(members.sites.as_ref(), site_from_text)?,
            kinds: list(members.kinds.as_ref(), Event::parse)?,
            from_time: time(members.from_time.as_ref())?,
            to_time: time(members.to_time.as_ref())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Option<Filter> {
        Filter::parse(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_filter_is_read_back() {
        let filter = Filter {
            sites: vec![Site::VAULT, Site::parse("nl").unwrap()],
            kinds: vec![Event::Login, Event::Redeemed],
            from_time: Some(Timestamp(1)),
            to_time: Some(Timestamp(2)),
        };
        let json = serde_json::to_string(&filter.members()).unwrap();
        assert_eq!(parsed(&json), Some(filter));
        assert_eq!(parsed("{}"), Some(Filter::default()));
    }

    #[test]
    fn a_list_has_one_spelling() {
        for json in [
            r#"{"sites":""}"#,
            r#"{"sites":"nl,nl"}"#,
            r#"{"sites":"us,nl"}"#,
            r#"{"sites":"nl,"}"#,
            r#"{"sites":"nl, us"}"#,
            r#"{"kinds":"login,unheard_of"}"#,
            r#"{"from_time":"2026-11-01T00:00:00Z"}"#,
            r#"{"to_time":""}"#,
        ] {
            assert_eq!(parsed(json), None, "{json}");
        }
    }

    #[test]
    fn the_site_is_named_before_the_kind_and_the_time_last() {
        let nl = Site::parse("nl").unwrap();
        let filter = Filter {
            sites: vec![nl],
            kinds: vec![Event::Login],
            from_time: Some(Timestamp(5)),
            to_time: Some(Timestamp(7)),
        };
        let miss = |site, event, at| filter.miss(site, event, Timestamp(at));
        assert_eq!(miss(Site::VAULT, Event::Logout, 0), Some(Miss::Site));
        assert_eq!(miss(nl, Event::Logout, 0), Some(Miss::Kind));
        assert_eq!(miss(nl, Event::Login, 4), Some(Miss::Time));
        assert_eq!(miss(nl, Event::Login, 5), None);
        assert_eq!(miss(nl, Event::Login, 6), None);
        assert_eq!(miss(nl, Event::Login, 7), Some(Miss::Time));
    }
}
