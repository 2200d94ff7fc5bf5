//! GetWeChatBillDetails: the vendor's own ledger.

use super::{
    H5,
    tree::{Object, Tree, Undecidable},
    wire::GetWeChatBillDetailsRequest,
};
use crate::{
    domain::{bill_day::BillDay, flow::Flow, ids::BizToken, key_pair::KeyPair},
    tencent::{
        answer::Answer,
        client::Client,
        error::Error,
        options::{CallOptions, Urgency},
        terms::Charge,
    },
};

const ACTION: &str = "GetWeChatBillDetails";
/// Stops a ledger of the vendor that never ends: a million tokens a day at 100 a page.
const MAX_PAGES: u32 = 10_000;

impl H5 {
    /// All pages of the ledger of a flow's day.
    ///
    /// # Errors
    /// See [`crate::tencent::ErrorKind`].
    pub(in crate::tencent) async fn bill(
        &self,
        pair: &KeyPair,
        flow: &Flow,
        day: BillDay,
        urgency: Urgency,
    ) -> Result<Vec<Charge>, Error> {
        let options = CallOptions { credential: &flow.credential, urgency };
        let date = day.to_string();
        let mut charges = Vec::new();
        let mut cursor = 0;
        for _page in 0..MAX_PAGES {
            let request = GetWeChatBillDetailsRequest { date: &date, cursor, rule_id: &flow.rule_id };
            let Answer { body, request_id, tries, .. } =
                self.client.get_wechat_bill_details(pair, &request, options).await?;
            let page = read_page(body).map_err(|Undecidable(field)| {
                Error::unintelligible(ACTION, &format!("{field} cannot be read"), &request_id, tries)
            })?;
            charges.extend(page.charges);
            match page.next_cursor {
                None => return Ok(charges),
                Some(next) if next > cursor => cursor = next,
                Some(_) => break,
            }
        }
        Err(Error::unintelligible(ACTION, "its ledger does not end", "", 1))
    }
}

impl Client {
    /// A page of the ledger of a day (document 31082).
    async fn get_wechat_bill_details(
        &self,
        pair: &KeyPair,
        request: &GetWeChatBillDetailsRequest<'_>,
        options: CallOptions<'_>,
    ) -> Result<Answer<Tree>, Error> {
        self.call(ACTION, pair, request, options, Ok).await
    }
}

/// A page of the ledger.
struct Page {
    charges: Vec<Charge>,
    /// Where the next one begins, if there is one.
    next_cursor: Option<i64>,
}

/// Strict, all of it: it is about money.
fn read_page(mut answer: Tree) -> Result<Page, Undecidable> {
    let mut root = answer.root();
    let has_next = root.deciding_boolean("HasNextPage")?.unwrap_or(false);
    let next_cursor = root.deciding_integer("NextCursor")?.filter(|_| has_next);
    if has_next && next_cursor.is_none() {
        return Err(Undecidable("NextCursor"));
    }
    let charges = root.objects("WeChatBillDetails").into_iter().map(read_charge).collect::<Result<_, _>>()?;
    Ok(Page { charges, next_cursor })
}

fn read_charge(mut detail: Object<'_>) -> Result<Charge, Undecidable> {
    let token = detail.text("BizToken").unwrap_or_default();
    let counted = detail.deciding_integer("ChargeCount")?;
    let mut entries = Vec::new();
    for mut entry in detail.objects("ChargeDetails") {
        // The ledger has what was charged and nothing else.
        if entry.deciding_boolean("IsNeedCharge")? != Some(false) {
            entries.push(entry.text("Seq"));
        }
    }
    let counted = counted.map_or(Ok(entries.len() as u64), u64::try_from).map_err(|_| Undecidable("ChargeCount"))?;
    Ok(Charge { token_tail: tail(&token), token: BizToken::parse(&token).ok(), charges: counted, entries })
}

fn tail(token: &str) -> String {
    let count = token.chars().count();
    token.chars().skip(count.saturating_sub(4)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(json: &str) -> Result<Page, Undecidable> {
        read_page(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn entries_are_read_by_their_sequence() {
        let page = page(
            r#"{"HasNextPage":"true","NextCursor":"7","WeChatBillDetails":[{"BizToken":"TOKEN-1234","ChargeCount":3,"ChargeDetails":[
                {"Seq":"a","IsNeedCharge":true,"ErrorCode":"0"},{"Seq":""},{"Seq":"b","IsNeedCharge":false},{}]},
                {"BizToken":null,"ChargeCount":null,"ChargeDetails":null}]}"#,
        )
        .ok()
        .unwrap();
        assert_eq!(page.next_cursor, Some(7));
        let [charge, none] = &page.charges[..] else { panic!("{}", page.charges.len()) };
        assert_eq!((charge.charges, charge.token_tail.as_str()), (3, "1234"));
        assert_eq!(charge.entries, [Some("a".into()), None, None]);
        assert_eq!((none.charges, none.token.is_none(), none.entries.len()), (0, true, 0));
    }

    #[test]
    fn a_ledger_that_cannot_be_read_is_refused() {
        for (json, field) in [
            (r#"{"HasNextPage":true}"#, "NextCursor"),
            (r#"{"HasNextPage":"perhaps"}"#, "HasNextPage"),
            (r#"{"WeChatBillDetails":[{"ChargeCount":"many"}]}"#, "ChargeCount"),
            (r#"{"WeChatBillDetails":[{"ChargeCount":-1}]}"#, "ChargeCount"),
            (r#"{"WeChatBillDetails":[{"ChargeDetails":[{"IsNeedCharge":"x"}]}]}"#, "IsNeedCharge"),
        ] {
            assert_eq!(page(json).err(), Some(Undecidable(field)), "{json}");
        }
    }
}
