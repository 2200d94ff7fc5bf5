//! GetWeChatBillDetails (document 51442): the vendor's own ledger of a day, from which an account
//! is billed.
//!
//! It has what was charged and nothing else, and unlike results it is kept: it can be asked for 365
//! days back, long after the results are deleted.

use jiff::civil::Date;
use jiff::tz::{Offset, offset};
use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::Attempt;
use super::codes;
use super::error::ApiError;
use super::findings::Findings;
use super::rule::Comparison;
use super::shared::Shared;
use super::state::{State, Token};

/// Days of the bill are days in Beijing, where the clocks are never changed.
const BEIJING: Offset = offset(8);
const HOUR_MS: i64 = 3600 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// The bill of a day can be had from 06:00 of the next.
const READY_AFTER_MS: i64 = DAY_MS + 6 * HOUR_MS;
const MAX_DAYS_BACK: i64 = 365;

/// Tells what was charged on a day, by token and page by page.
///
/// # Errors
/// `RuleIdNotExist`; `InvalidParameterValue` for a day that is none, to come, or too long ago, and
/// for a negative cursor; `FailedOperation.UnKnown` for a day whose bill is not ready yet.
pub(super) fn get_wechat_bill_details(shared: &Shared, body: &[u8]) -> Result<Value, ApiError> {
    let request: GetWeChatBillDetailsRequest =
        serde_json::from_slice(body).map_err(|error| ApiError::from_json(&error))?;
    let cursor = usize::try_from(request.cursor)
        .map_err(|_| ApiError::bad_value("Cursor must be 0, or the NextCursor of the page before."))?;
    let state = shared.state();
    // The vendor reads an empty string as one that was not given.
    let rule_id = request.rule_id.as_deref().filter(|rule_id| !rule_id.is_empty());
    if rule_id.is_some_and(|rule_id| state.rule(rule_id).is_none()) {
        return Err(ApiError::rule_not_exist());
    }
    let day = Day::ready(&request.date, shared.clock.now_ms())?;
    let mut page = page(&state, &day, rule_id, cursor);
    state.shape.shape_bill(&mut page);
    Ok(page)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetWeChatBillDetailsRequest {
    date: String,
    cursor: i64,
    rule_id: Option<String>,
}

/// A day in Beijing, by its first millisecond.
struct Day {
    start_ms: i64,
}

impl Day {
    /// The day named `YYYY-MM-DD`, if its bill can be had at `now_ms`.
    fn ready(date: &str, now_ms: i64) -> Result<Self, ApiError> {
        let malformed = || ApiError::bad_value("Date must be a day, written YYYY-MM-DD.");
        // Other ways of writing a day are read here too; only the vendor's is written back the
        // same.
        let day: Date = date.parse().ok().filter(|day: &Date| day.to_string() == date).ok_or_else(malformed)?;
        let start = BEIJING.to_timestamp(day.at(0, 0, 0, 0)).map_err(|_| malformed())?;
        let age_ms = now_ms - start.as_millisecond();
        if age_ms < 0 {
            return Err(ApiError::bad_value("Date must not be in the future."));
        }
        if age_ms / DAY_MS > MAX_DAYS_BACK {
            return Err(ApiError::bad_value("Date must be at most 365 days back."));
        }
        if age_ms < READY_AFTER_MS {
            // The vendor does not document how it refuses a bill that is still being made. Of the
            // codes that it has for this action's family this is the one that is worth asking again
            // after, as it is here.
            let message = "The bill of this Date is not ready; it can be had from 06:00 Beijing time of the next day.";
            return Err(ApiError::new("FailedOperation.UnKnown", message));
        }
        Ok(Self { start_ms: start.as_millisecond() })
    }

    fn holds(&self, attempt: &Attempt) -> bool {
        (self.start_ms..self.start_ms + DAY_MS).contains(&attempt.at_ms)
    }
}

/// The tokens after `cursor` that were charged for on `day`. A cursor is the number of a token
/// among all those of the account, so its values have gaps, as the vendor's have, and a page stays
/// the same whatever is added behind it.
fn page(state: &State, day: &Day, rule_id: Option<&str>, cursor: usize) -> Value {
    let mut charged = (1..)
        .zip(state.tokens())
        .skip(cursor)
        .filter(|(_, token)| rule_id.is_none_or(|rule_id| token.rule_id == rule_id))
        .filter(|(_, token)| token.charges().any(|charge| day.holds(charge)));
    let on_page: Vec<(usize, &Token)> = charged.by_ref().take(state.bill_page_tokens).collect();
    json!({
        "HasNextPage": charged.next().is_some(),
        "NextCursor": on_page.last().map_or(cursor, |(number, _)| *number),
        "WeChatBillDetails": on_page.iter().map(|(_, token)| token_on_bill(state, day, token)).collect::<Vec<_>>(),
    })
}

fn token_on_bill(state: &State, day: &Day, token: &Token) -> Value {
    let comparison = state.rule(&token.rule_id).map_or(Comparison::Authority, |entry| entry.rule.comparison);
    let charges = token.charges().filter(|charge| day.holds(charge));
    let details: Vec<Value> = charges.map(|charge| charge_detail(token, charge, comparison)).collect();
    json!({
        "BizToken": token.biz_token,
        "ChargeCount": details.len(),
        "ChargeDetails": details,
        "RuleId": token.rule_id,
    })
}

/// One charge. `Idcard` is the deprecated name of `IdCard`; the vendor sends both. The code of the
/// result is text here, unlike in the result itself.
fn charge_detail(token: &Token, charge: &Attempt, comparison: Comparison) -> Value {
    let found = Findings::of(token, charge, comparison);
    let card = found.card.as_ref();
    let id_card = token.order.id_card.as_ref().or(card.map(|card| &card.id_number)).map(|number| mask(number, 1));
    let name = token.order.name.as_ref().or(card.map(|card| &card.name)).map(|name| mask(name, 0));
    let seq = if token.billed_under_other_seqs { format!("{}-billed", charge.seq) } else { charge.seq.clone() };
    json!({
        "ReqTime": charge.at_ms.to_string(),
        "Seq": seq,
        "IdCard": id_card,
        "Idcard": id_card,
        "Name": name,
        "Sim": found.sim,
        "IsNeedCharge": true,
        "ChargeType": match comparison {
            Comparison::Authority => "核身",
            Comparison::UploadedPhoto => "比对",
        },
        "ErrorCode": charge.outcome.code.to_string(),
        "ErrorMessage": codes::message(charge.outcome.code),
    })
}

/// Keeps the first `shown` characters and the last one, as the vendor does on its bill:
/// `4****************8`, `**钱`.
fn mask(text: &str, shown: usize) -> String {
    let last = text.chars().count().saturating_sub(1);
    text.chars().enumerate().map(|(at, c)| if at > 0 && at == last || at < shown { c } else { '*' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(date: &str, now: &str) -> String {
        let now: jiff::Timestamp = now.parse().unwrap();
        Day::ready(date, now.as_millisecond()).err().map_or("OK".to_owned(), |error| error.code.into_owned())
    }

    #[test]
    fn the_bill_of_a_day_is_ready_at_six_the_next_morning_in_beijing() {
        let not_ready = "FailedOperation.UnKnown";
        assert_eq!(code("2026-03-01", "2026-03-01T00:00:00+08:00"), not_ready);
        assert_eq!(code("2026-03-01", "2026-03-02T05:59:59+08:00"), not_ready);
        assert_eq!(code("2026-03-01", "2026-03-02T06:00:00+08:00"), "OK");
        assert_eq!(code("2026-02-28", "2026-03-02T00:00:00+08:00"), "OK");
        assert_eq!(code("2026-03-02", "2026-03-01T23:59:59+08:00"), "InvalidParameterValue");
    }

    #[test]
    fn a_bill_goes_back_365_days() {
        assert_eq!(code("2025-03-01", "2026-03-01T23:59:59+08:00"), "OK");
        assert_eq!(code("2025-02-28", "2026-03-01T00:00:00+08:00"), "InvalidParameterValue");
    }

    #[test]
    fn a_day_is_written_in_one_way_only() {
        let texts =
            ["", "20260301", "2026-3-1", "2026-03-1", "2026-02-30", "2026-03-01T00:00", "2026/03/01", "-9999-01-01"];
        for text in texts {
            assert_eq!(code(text, "2026-03-05T00:00:00Z"), "InvalidParameterValue", "{text}");
        }
    }

    #[test]
    fn a_day_begins_and_ends_at_midnight_in_beijing() {
        let now: jiff::Timestamp = "2026-03-05T00:00:00Z".parse().unwrap();
        let day = Day::ready("2026-03-01", now.as_millisecond()).unwrap();
        assert_eq!(jiff::Timestamp::from_millisecond(day.start_ms).unwrap().to_string(), "2026-02-28T16:00:00Z");
    }

    #[test]
    fn names_and_numbers_are_masked() {
        assert_eq!((mask("赵孙钱", 0), mask("钱", 0), mask("", 0)), ("**钱".to_owned(), "*".to_owned(), String::new()));
        assert_eq!(mask("11010519491231002X", 1), "1****************X");
    }
}
