//! Small pages around the flow: a merchant to come back to, the vendor's product page, and pages
//! that say one thing.

use axum::extract::{Path, Query};
use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};
use serde::Deserialize;

/// How a browser came to a page of the merchant, read off its URL: as the gateway that this
/// simulator is made for adds to it.
#[derive(Deserialize)]
pub(super) struct ShopQuery {
    faceid_verification_id: Option<String>,
    /// The vendor adds it to a RedirectUrl: then the browser comes straight from the vendor.
    #[serde(rename = "BizToken")]
    biz_token: Option<String>,
}

/// `GET /shop/{page}`: a page of a merchant, where demos and browser tests land. It says what
/// happened, and what to call next.
pub(super) async fn shop(Path(page): Path<String>, Query(query): Query<ShopQuery>) -> Response {
    let id = query.faceid_verification_id.as_deref().map(escape);
    let (happened, next) = match (&id, query.biz_token) {
        (_, Some(_)) => (STRAIGHT_FROM_THE_VENDOR, CALL_HANDLE_CALLBACK.to_owned()),
        (Some(id), None) => (THROUGH_THE_GATEWAY, call_get_result(id)),
        (None, None) => (BY_ITSELF, String::new()),
    };
    let page = escape(&page);
    let id = id.map(|id| format!("<p>核身编号：<b id=\"verification-id\">{id}</b></p>")).unwrap_or_default();
    let body = format!("<p>页面：<b id=\"shop-page\">{page}</b></p>{id}{happened}<div id=\"next\">{next}</div>");
    notice(StatusCode::OK, "商户页面", &body)
}

const THROUGH_THE_GATEWAY: &str = "<p id=\"happened\">用户已离开核身页面。网关的 <code>/callback</code> 向腾讯云查询过结果后，把浏览器带到了这里：\
    通过则到 <code>success_url</code>，否则到 <code>failure_url</code>。\
    <span lang=\"en\">The gateway asked the vendor, and sent the browser here: to success_url when the person passed, to \
    failure_url otherwise.</span></p>";

const STRAIGHT_FROM_THE_VENDOR: &str = "<p id=\"happened\">腾讯云把浏览器直接带回了 <code>return_url</code>，网关尚不知情，结果还没有查询。\
    <span lang=\"en\">The vendor sent the browser straight to return_url. The gateway does not know of it yet.</span></p>";

const BY_ITSELF: &str = "<p id=\"happened\">这是一个示例商户页面，核身结束后浏览器会回到这里。\
    <span lang=\"en\">A page of a merchant: browsers come here when a verification has ended.</span></p>";

const CALL_HANDLE_CALLBACK: &str = "<p>接下来调用 <code>HandleCallback</code>，把本页的完整 URL 原样作为 <code>callback_url</code> 传入；它会查询结果。\
    <span lang=\"en\">Next: HandleCallback with the whole URL of this page, as it came. It asks the vendor.</span></p>";

/// `id` is escaped.
fn call_get_result(id: &str) -> String {
    format!(
        "<p>跳转只是提示，不能当作结论：任何人都能打开这个地址。接下来由服务端调用 <code>GetResult</code>，以它的 <code>state</code> 为准；\
         <code>PENDING</code> 表示用户还可以用同一链接重试。\
         <span lang=\"en\">Anyone can open this address: it is a hint. Next, on your server: GetResult, whose state decides; PENDING \
         means that the user may try again with the same link.</span></p>\
         <pre>GetResult {{\"verification_id\": \"{id}\"}}</pre>"
    )
}

/// `GET /product`: where the vendor sends a user for whom no RedirectUrl was given.
pub(super) async fn product() -> Response {
    notice(StatusCode::OK, "人脸核身", "<p>核身流程已结束，您可以关闭本页面。</p>")
}

/// A page that says one thing. `body` is HTML: whatever comes from outside must be escaped in it.
pub(super) fn notice(status: StatusCode, title: &str, body: &str) -> Response {
    let page = include_str!("notice.html").replace("{{title}}", &escape(title)).replace("{{body}}", body);
    (
        status,
        [(header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; img-src data:")],
        Html(page),
    )
        .into_response()
}

/// Makes `text` safe in HTML, in attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_from_outside_is_escaped() {
        let query = ShopQuery { faceid_verification_id: Some("\"'&".to_owned()), biz_token: None };
        let page = shop(Path("<script>".to_owned()), Query(query)).await;
        let html = axum::body::to_bytes(page.into_body(), 100_000).await.unwrap();
        let html = std::str::from_utf8(&html).unwrap();
        assert!(html.contains("<b id=\"shop-page\">&lt;script&gt;</b>"));
        assert!(html.contains("<b id=\"verification-id\">&quot;&#39;&amp;</b>"));
        assert!(!html.contains("<script>"));
    }
}
