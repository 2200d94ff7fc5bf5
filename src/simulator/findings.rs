//! Findings of an attempt: as much as its code allows, the rest made up, the same for the same
//! attempt.

use super::attempt::Attempt;
use super::codes::{self, Stage};
use super::identity::{self, Card};
use super::rule::Comparison;
use super::state::Token;

/// Findings of an attempt before it ended; `None` for each stage that it did not reach.
pub(super) struct Findings {
    pub(super) card: Option<Card>,
    pub(super) live_status: Option<i64>,
    pub(super) compare_status: Option<i64>,
    pub(super) sim: Option<String>,
    pub(super) library: Option<&'static str>,
    pub(super) liveness_mode: Option<i64>,
}

impl Findings {
    /// `comparison` is that of the token's rule.
    pub(super) fn of(token: &Token, attempt: &Attempt, comparison: Comparison) -> Self {
        let code = attempt.outcome.code;
        let stage = stage(attempt);
        let live_status = match stage {
            Stage::Liveness => Some(code),
            Stage::Compare | Stage::Final => Some(0),
            _ => None,
        };
        let compare_status = matches!(stage, Stage::Compare | Stage::Final).then_some(code);
        Self {
            card: card(token, attempt),
            live_status,
            compare_status,
            sim: similarity(code, token.seed + attempt.nth),
            library: compare_status.map(|_| match comparison {
                Comparison::Authority => "权威库",
                Comparison::UploadedPhoto => "业务方自有库",
            }),
            // 4: motion and light, the one of the WeChat overlay.
            liveness_mode: live_status.map(|_| 4),
        }
    }
}

/// How far the attempt came.
pub(super) fn stage(attempt: &Attempt) -> Stage {
    codes::find(attempt.outcome.code).map_or(Stage::System, |known| known.stage)
}

fn card(token: &Token, attempt: &Attempt) -> Option<Card> {
    if !token.reads_card {
        return None;
    }
    let (name, id_card) = (token.order.name.as_deref(), token.order.id_card.as_deref());
    let card = identity::card(name, id_card, token.seed, token.created_ms);
    match (stage(attempt), attempt.outcome.code) {
        (Stage::System | Stage::Wechat, _) | (_, 303) => None,
        (_, 301) => Some(card.with_other_number(token.seed + 1)),
        (_, 302) => Some(card.expired(token.created_ms)),
        _ => Some(card),
    }
}

/// "0.00" to "100.00", and 70 or more only for the same person. Other codes leave nothing to
/// compare.
fn similarity(code: i64, seed: u64) -> Option<String> {
    let range = match code {
        0 => 85_00..99_00,
        2016 => 40_00..69_00,
        2011 | 2015 => 5_00..35_00,
        _ => return None,
    };
    let hundredths = range.start + (seed * 617) % (range.end - range.start);
    Some(format!("{}.{:02}", hundredths / 100, hundredths % 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarity_is_70_or_more_for_the_same_person_only() {
        for seed in 0..5_000 {
            let value = |code| similarity(code, seed).unwrap().parse::<f64>().unwrap();
            assert!((70.0..=100.0).contains(&value(0)));
            assert!(value(2016) < 70.0 && value(2015) < 70.0);
        }
        assert_eq!(similarity(1004, 1), None);
    }
}
