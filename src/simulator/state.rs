//! The vendor's memory: rules, tokens with their attempts, and what the control port has prepared.
//!
//! Nothing here reads a clock or does I/O; the time is an argument. One mutex guards all of it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::attempt::{Attempt, AttemptRefused, MAX_ATTEMPTS, Outcome};
use super::codes;
use super::encryption::Algorithm;
use super::faults::FaultQueue;
use super::media::{Medium, Storage};
use super::quota::Quota;
use super::rule::{IntentionMode, Rule};
use super::shape::Shape;

/// How long a BizToken can be used for verifying (document 31816).
pub(super) const TOKEN_LIFE_MS: i64 = 7_200 * 1000;
/// How long results are kept, counted from the making of the token (document 41957).
pub(super) const RESULT_LIFE_MS: i64 = 259_200 * 1000;
/// How many tokens a page of the bill holds unless the control port says otherwise. The vendor
/// documents no number.
const BILL_PAGE_TOKENS: usize = 50;

pub(super) struct State {
    rules: Vec<RuleEntry>,
    /// In the order of their making.
    tokens: Vec<Token>,
    index: HashMap<String, usize>,
    next_outcomes: VecDeque<Outcome>,
    pub(super) faults: FaultQueue,
    pub(super) quota: Quota,
    /// The form of every answer.
    pub(super) shape: Shape,
    /// In place of the usual liveness video, where a test has asked for another size.
    pub(super) liveness_video: Option<Medium>,
    pub(super) storage: Storage,
    /// How many tokens a page of the bill holds.
    pub(super) bill_page_tokens: usize,
    /// Whether the H5 page refuses every browser but WeChat's.
    pub(super) only_in_wechat: bool,
    /// Action → answer code → number of calls.
    calls: BTreeMap<String, BTreeMap<String, u64>>,
}

pub(super) struct RuleEntry {
    pub(super) rule: Rule,
    pub(super) disabled: bool,
}

/// One BizToken and everything that happened under it.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) biz_token: String,
    pub(super) rule_id: String,
    pub(super) intention: Option<IntentionMode>,
    pub(super) reads_card: bool,
    pub(super) created_ms: i64,
    pub(super) order: NewToken,
    pub(super) attempts: Vec<Attempt>,
    pub(super) gave_up: bool,
    /// The user came for another attempt and was refused, because there had been [`MAX_ATTEMPTS`].
    pub(super) exhausted: bool,
    /// The bill leaves this token out, whatever was charged.
    pub(super) left_off_bill: bool,
    /// The bill has each charge of this token under a Seq that no result has.
    pub(super) billed_under_other_seqs: bool,
    /// What the bill has and the result has not: charges without an attempt, each in the shape of
    /// one.
    pub(super) extra_charges: Vec<Attempt>,
    /// How many answers with text about it were not encrypted.
    pub(super) clear_answers: u32,
    /// Makes invented data differ between tokens.
    pub(super) seed: u64,
}

/// How `Name` and `IdCard` came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Transport {
    /// `None`: in the clear.
    pub(super) encryption: Option<Algorithm>,
    /// Whoever saw the request could read one of them in it.
    pub(super) legible: bool,
}

/// The checked request of DetectAuth.
#[derive(Debug, Clone, Default)]
pub(super) struct NewToken {
    pub(super) name: Option<String>,
    pub(super) id_card: Option<String>,
    pub(super) identity: Transport,
    /// `None` sends the user to the vendor's product page.
    pub(super) redirect_url: Option<String>,
    pub(super) extra: Option<String>,
    /// What the user reads aloud, is asked, or nods at.
    pub(super) intention_script: Vec<String>,
}

/// How the bill of a token is to differ from its attempts; what is not given stays as it is.
#[derive(Debug, Default)]
pub(super) struct BillChange {
    pub(super) leave_off: Option<bool>,
    pub(super) other_seqs: Option<bool>,
    pub(super) extra_charges: usize,
}

impl State {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules: rules.into_iter().map(|rule| RuleEntry { rule, disabled: false }).collect(),
            tokens: Vec::new(),
            index: HashMap::new(),
            next_outcomes: VecDeque::new(),
            faults: FaultQueue::default(),
            quota: Quota::default(),
            shape: Shape::default(),
            liveness_video: None,
            storage: Storage::default(),
            bill_page_tokens: BILL_PAGE_TOKENS,
            only_in_wechat: false,
            calls: BTreeMap::new(),
        }
    }

    /// Forgets everything but the rules, and enables those again.
    pub(super) fn reset(&mut self) {
        let rules = std::mem::take(&mut self.rules).into_iter().map(|entry| entry.rule).collect();
        *self = Self::new(rules);
    }

    pub(super) fn rule(&self, rule_id: &str) -> Option<&RuleEntry> {
        self.rules.iter().find(|entry| entry.rule.rule_id == rule_id)
    }

    /// Enables or disables a rule; `false` when there is no such rule.
    pub(super) fn set_rule_disabled(&mut self, rule_id: &str, disabled: bool) -> bool {
        let entry = self.rules.iter_mut().find(|entry| entry.rule.rule_id == rule_id);
        entry.map(|entry| entry.disabled = disabled).is_some()
    }

    /// Makes a token. `rule` is that of the request.
    pub(super) fn make_token(&mut self, biz_token: String, rule: &Rule, order: NewToken, now_ms: i64) {
        self.index.insert(biz_token.clone(), self.tokens.len());
        self.tokens.push(Token {
            biz_token,
            rule_id: rule.rule_id.clone(),
            intention: rule.intention,
            reads_card: rule.reads_card,
            created_ms: now_ms,
            order,
            attempts: Vec::new(),
            gave_up: false,
            exhausted: false,
            left_off_bill: false,
            billed_under_other_seqs: false,
            extra_charges: Vec::new(),
            clear_answers: 0,
            seed: self.tokens.len() as u64,
        });
    }

    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    pub(super) fn token(&self, biz_token: &str) -> Option<&Token> {
        self.index.get(biz_token).and_then(|&at| self.tokens.get(at))
    }

    /// Lets the user make an attempt that ends with `outcome`, else with the next prepared one,
    /// else passes. Either way the next prepared one is used up.
    ///
    /// # Errors
    /// [`AttemptRefused`]; nothing was recorded then, but after [`AttemptRefused::RetryLimit`] the
    /// token reports 16.
    pub(super) fn attempt(
        &mut self,
        biz_token: &str,
        outcome: Option<Outcome>,
        now_ms: i64,
    ) -> Result<(&Token, Attempt), AttemptRefused> {
        let at = *self.index.get(biz_token).ok_or(AttemptRefused::UnknownToken)?;
        let token = self.tokens.get_mut(at).ok_or(AttemptRefused::UnknownToken)?;
        token.check_open(now_ms).inspect_err(|refusal| {
            token.exhausted |= *refusal == AttemptRefused::RetryLimit;
        })?;
        let outcome = outcome.or(self.next_outcomes.front().copied()).unwrap_or(Outcome::PASSED);
        let outcome = outcome.for_flow(token.intention)?;
        self.next_outcomes.pop_front();

        let attempt = token.new_attempt(outcome, now_ms);
        token.attempts.push(attempt.clone());
        token.gave_up = false;
        Ok((token, attempt))
    }

    /// Makes a token on which so many charged attempts were made, the last of which passed: another
    /// program's, as an account's bill has them when its key is shared.
    pub(super) fn make_charged_token(&mut self, biz_token: String, rule: &Rule, charges: usize, now_ms: i64) {
        self.make_token(biz_token, rule, NewToken::default(), now_ms);
        let Some(token) = self.tokens.last_mut() else {
            return;
        };
        let failed = Outcome { code: 2016, intention_code: None };
        let passed = Outcome { code: 0, intention_code: rule.intention.map(|_| 0) };
        for nth in 1..=charges {
            let attempt = token.new_attempt(if nth < charges { failed } else { passed }, now_ms);
            token.attempts.push(attempt);
        }
    }

    /// Lets the bill differ from the attempts of a token; `None` when there is no such token. Extra
    /// charges repeat the last charged attempt with a Seq of their own, or else a pass at `now_ms`;
    /// they add up.
    pub(super) fn change_bill(&mut self, biz_token: &str, change: &BillChange, now_ms: i64) -> Option<&Token> {
        let token = self.tokens.get_mut(*self.index.get(biz_token)?)?;
        token.left_off_bill = change.leave_off.unwrap_or(token.left_off_bill);
        token.billed_under_other_seqs = change.other_seqs.unwrap_or(token.billed_under_other_seqs);
        let pass = token.new_attempt(Outcome::PASSED, now_ms);
        let repeated = token.attempts.iter().rfind(|attempt| attempt.charged).cloned().unwrap_or(pass);
        for _ in 0..change.extra_charges {
            token.extra_charges.push(Attempt { seq: super::random::random_uuid().to_string(), ..repeated.clone() });
        }
        Some(token)
    }

    pub(super) fn note_clear_answer(&mut self, biz_token: &str) {
        if let Some(token) = self.index.get(biz_token).and_then(|&at| self.tokens.get_mut(at)) {
            token.clear_answers += 1;
        }
    }

    /// The user opens the page: where no attempt is left, the token reports that from now on.
    pub(super) fn note_visit(&mut self, biz_token: &str) {
        if let Some(token) = self.index.get(biz_token).and_then(|&at| self.tokens.get_mut(at)) {
            token.exhausted |= !token.has_passed() && token.attempts.len() >= MAX_ATTEMPTS;
        }
    }

    /// Lets the user leave without an attempt; `None` when there is no such token.
    pub(super) fn give_up(&mut self, biz_token: &str) -> Option<&Token> {
        let token = self.tokens.get_mut(*self.index.get(biz_token)?)?;
        token.gave_up = true;
        Some(token)
    }

    pub(super) fn prepare_outcomes(&mut self, outcomes: Vec<Outcome>) {
        self.next_outcomes.extend(outcomes);
    }

    pub(super) fn clear_outcomes(&mut self) {
        self.next_outcomes.clear();
    }

    pub(super) fn next_outcomes(&self) -> impl ExactSizeIterator<Item = &Outcome> {
        self.next_outcomes.iter()
    }

    pub(super) fn count_call(&mut self, action: &str, code: &str) {
        *self.calls.entry(action.to_owned()).or_default().entry(code.to_owned()).or_default() += 1;
    }

    pub(super) fn calls(&self) -> &BTreeMap<String, BTreeMap<String, u64>> {
        &self.calls
    }
}

impl Token {
    pub(super) fn is_expired(&self, now_ms: i64) -> bool {
        now_ms - self.created_ms >= TOKEN_LIFE_MS
    }

    /// Whether the vendor has deleted the results.
    pub(super) fn is_deleted(&self, now_ms: i64) -> bool {
        now_ms - self.created_ms >= RESULT_LIFE_MS
    }

    pub(super) fn has_passed(&self) -> bool {
        self.attempts.last().is_some_and(|attempt| attempt.outcome.has_passed())
    }

    /// The code that the result reports for the face part; `None` before any attempt.
    pub(super) fn reported_code(&self) -> Option<i64> {
        if self.exhausted {
            return Some(codes::RETRY_LIMIT);
        }
        self.attempts.last().map(|attempt| attempt.outcome.code)
    }

    fn new_attempt(&self, outcome: Outcome, now_ms: i64) -> Attempt {
        Attempt {
            seq: super::random::random_uuid().to_string(),
            nth: self.attempts.len() as u64,
            at_ms: now_ms,
            outcome,
            charged: codes::find(outcome.code).is_some_and(|known| known.billed),
        }
    }

    /// What the bill has of this token, in the order of time but for extra charges, which come
    /// last.
    pub(super) fn charges(&self) -> impl Iterator<Item = &Attempt> {
        let charged = self.attempts.iter().filter(|attempt| attempt.charged);
        charged.chain(&self.extra_charges).filter(|_| !self.left_off_bill)
    }

    /// Checks that another attempt may begin.
    fn check_open(&self, now_ms: i64) -> Result<(), AttemptRefused> {
        if self.is_expired(now_ms) {
            return Err(AttemptRefused::Expired);
        }
        if self.has_passed() {
            return Err(AttemptRefused::AlreadyComplete);
        }
        if self.attempts.len() >= MAX_ATTEMPTS {
            return Err(AttemptRefused::RetryLimit);
        }
        Ok(())
    }

    /// One word for the control port.
    pub(super) fn summary(&self, now_ms: i64) -> &'static str {
        if self.is_deleted(now_ms) {
            "deleted"
        } else if self.has_passed() {
            "passed"
        } else if self.is_expired(now_ms) {
            "expired"
        } else if self.exhausted {
            "exhausted"
        } else if self.gave_up {
            "gave_up"
        } else if self.attempts.is_empty() {
            "new"
        } else {
            "failed"
        }
    }

    /// Where the browser goes at the end: RedirectUrl with BizToken, and Extra if there was one,
    /// added to its query. `None` when there is no RedirectUrl.
    pub(super) fn redirect(&self) -> Option<String> {
        let url = self.order.redirect_url.as_deref()?;
        // By hand: parsing and writing the URL again would change how the caller had written it.
        let (before_fragment, fragment) = match url.split_once('#') {
            Some((before, fragment)) => (before, format!("#{fragment}")),
            None => (url, String::new()),
        };
        let joint = match before_fragment.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some((_, query)) if query.ends_with('&') => "",
            Some(_) => "&",
        };
        let mut added = url::form_urlencoded::Serializer::new(String::new());
        added.append_pair("BizToken", &self.biz_token);
        if let Some(extra) = &self.order.extra {
            added.append_pair("Extra", extra);
        }
        Some(format!("{before_fragment}{joint}{}{fragment}", added.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    fn state_with_token(rule: usize, order: NewToken) -> State {
        let mut state = State::new(Rule::defaults());
        let rule = Rule::defaults().swap_remove(rule);
        state.make_token("T".to_owned(), &rule, order, START_MS);
        state
    }

    fn attempt(state: &mut State, code: i64, now_ms: i64) -> Result<i64, AttemptRefused> {
        let outcome = Outcome::from_code(code)?;
        state.attempt("T", Some(outcome), now_ms).map(|(_, attempt)| attempt.outcome.code)
    }

    #[test]
    fn a_failed_token_can_be_tried_again_and_pass() {
        let mut state = state_with_token(0, NewToken::default());
        assert_eq!(attempt(&mut state, 2016, START_MS + 1), Ok(2016));
        assert_eq!(attempt(&mut state, 1004, START_MS + 2), Ok(1004));
        assert_eq!(attempt(&mut state, 0, START_MS + 3), Ok(0));
        let token = state.token("T").unwrap();
        assert!(token.has_passed());
        assert_eq!(token.reported_code(), Some(0));
        assert_eq!(token.attempts.iter().map(|a| a.charged).collect::<Vec<_>>(), [true, false, true]);
        assert_ne!(token.attempts[0].seq, token.attempts[1].seq);
    }

    #[test]
    fn a_passed_token_takes_no_further_attempt() {
        let mut state = state_with_token(0, NewToken::default());
        attempt(&mut state, 0, START_MS).unwrap();
        let refused = attempt(&mut state, 2016, START_MS).unwrap_err();
        assert_eq!((refused.result_code(), state.token("T").unwrap().attempts.len()), (Some(14), 1));
    }

    #[test]
    fn the_attempt_after_the_last_gives_16() {
        let mut state = state_with_token(0, NewToken::default());
        for _ in 0..MAX_ATTEMPTS {
            attempt(&mut state, 1004, START_MS).unwrap();
        }
        assert_eq!(state.token("T").unwrap().reported_code(), Some(1004));
        assert_eq!(attempt(&mut state, 0, START_MS).unwrap_err().result_code(), Some(16));
        let token = state.token("T").unwrap();
        assert_eq!((token.reported_code(), token.attempts.len()), (Some(16), MAX_ATTEMPTS));
        assert_eq!(token.summary(START_MS), "exhausted");
    }

    #[test]
    fn an_attempt_after_7200_s_changes_nothing() {
        let mut state = state_with_token(0, NewToken::default());
        attempt(&mut state, 1004, START_MS + TOKEN_LIFE_MS - 1).unwrap();
        assert_eq!(attempt(&mut state, 0, START_MS + TOKEN_LIFE_MS).unwrap_err().result_code(), Some(15));
        assert_eq!(state.token("T").unwrap().reported_code(), Some(1004));
    }

    #[test]
    fn results_are_deleted_after_3_days() {
        let state = state_with_token(0, NewToken::default());
        let token = state.token("T").unwrap();
        assert!(!token.is_deleted(START_MS + RESULT_LIFE_MS - 1));
        assert!(token.is_deleted(START_MS + RESULT_LIFE_MS));
    }

    #[test]
    fn prepared_outcomes_are_used_in_order_then_attempts_pass() {
        let mut state = state_with_token(0, NewToken::default());
        state.prepare_outcomes(vec![Outcome::from_code(2016).unwrap(), Outcome::from_code(301).unwrap()]);
        let mut next = || state.attempt("T", None, START_MS).unwrap().1.outcome.code;
        assert_eq!([next(), next(), next()], [2016, 301, 0]);
    }

    #[test]
    fn intention_decides_after_the_face() {
        let mut state = state_with_token(2, NewToken::default());
        attempt(&mut state, -301, START_MS).unwrap();
        assert!(!state.token("T").unwrap().has_passed());
        assert_eq!(state.token("T").unwrap().reported_code(), Some(0));
        attempt(&mut state, 0, START_MS).unwrap();
        let last = state.token("T").unwrap().attempts[1].outcome;
        assert_eq!((last.intention_code, last.decisive_code()), (Some(0), 0));
        assert!(state.token("T").unwrap().has_passed());
    }

    #[test]
    fn the_bill_can_differ_from_the_attempts() {
        let mut state = state_with_token(0, NewToken::default());
        for code in [1004, 2016] {
            attempt(&mut state, code, START_MS).unwrap();
        }
        let charged_seq = state.token("T").unwrap().attempts[1].seq.clone();
        let mut charges = |leave_off, extra_charges| {
            let change = BillChange { leave_off, extra_charges, ..BillChange::default() };
            let token = state.change_bill("T", &change, START_MS + 1).unwrap();
            token.charges().map(|charge| (charge.seq.clone(), charge.at_ms)).collect::<Vec<_>>()
        };
        assert_eq!(charges(None, 0), [(charged_seq.clone(), START_MS)]);
        let both = charges(None, 1);
        assert_eq!((both.len(), both[1].1), (2, START_MS));
        assert_ne!(both[1].0, charged_seq, "a Seq that no attempt has");
        assert!(charges(Some(true), 0).is_empty());
        assert_eq!(charges(Some(false), 1).len(), 3);
        assert!(state.change_bill("U", &BillChange::default(), START_MS).is_none());
    }

    #[test]
    fn another_programs_token_uses_up_no_prepared_outcome() {
        let mut state = State::new(Rule::defaults());
        state.prepare_outcomes(vec![Outcome::PASSED]);
        state.make_charged_token("T".to_owned(), &Rule::defaults()[2], 3, START_MS);
        let token = state.token("T").unwrap();
        let outcomes = token.charges().map(|charge| charge.outcome.decisive_code()).collect::<Vec<_>>();
        assert_eq!((outcomes, token.has_passed(), state.next_outcomes().len()), (vec![2016, 2016, 0], true, 1));
    }

    #[test]
    fn impossible_outcomes_are_refused() {
        let mut state = state_with_token(0, NewToken::default());
        assert_eq!(attempt(&mut state, -301, START_MS), Err(AttemptRefused::NoIntention));
        assert_eq!(attempt(&mut state, 17, START_MS), Err(AttemptRefused::UnusableCode(17)));
        assert_eq!(state.attempt("U", None, START_MS).unwrap_err(), AttemptRefused::UnknownToken);
        assert!(state.token("T").unwrap().attempts.is_empty());
    }

    #[test]
    fn the_redirect_keeps_query_and_fragment() {
        let redirect = |url: &str, extra: Option<&str>| {
            let order =
                NewToken { redirect_url: Some(url.to_owned()), extra: extra.map(str::to_owned), ..NewToken::default() };
            state_with_token(0, order).token("T").unwrap().redirect().unwrap()
        };
        assert_eq!(redirect("https://a.cn", None), "https://a.cn?BizToken=T");
        assert_eq!(redirect("https://a.cn/p?x=%2F1#/r", None), "https://a.cn/p?x=%2F1&BizToken=T#/r");
        assert_eq!(redirect("https://a.cn/?", Some("单 1&")), "https://a.cn/?BizToken=T&Extra=%E5%8D%95+1%26");
        assert_eq!(state_with_token(0, NewToken::default()).token("T").unwrap().redirect(), None);
    }
}
