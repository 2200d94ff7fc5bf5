"""The vendor's H5 page in a real browser, the size of a phone, from the first tap to the merchant's page."""

import contextlib
import json

import pytest
from browser import chromium, complaints
from people import onboarding
from reflected import ReflectedClient, state_of
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expect
from selenium.webdriver.support.ui import Select, WebDriverWait

PHONE = {"width": 390, "height": 844, "pixelRatio": 2}
WAIT_S = 15
GREEN, RED = "rgba(7, 193, 96, 1)", "rgba(250, 81, 81, 1)"
WECHAT = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 MicroMessenger/8.0.44"


class Phone:
    """A browser in the hand of a user."""

    def __init__(self, driver, screenshots):
        self.driver = driver
        self._screenshots = screenshots
        self._taken = 0

    def open(self, url):
        self.driver.get(url)

    def see(self, element_id):
        """Waits until an element is there to be seen, and takes a picture."""
        element = WebDriverWait(self.driver, WAIT_S).until(
            expect.visibility_of_element_located((By.ID, element_id)), f"#{element_id} did not appear"
        )
        self._picture(element_id)
        return element

    def tap(self, element_id):
        self.see(element_id)
        WebDriverWait(self.driver, WAIT_S).until(expect.element_to_be_clickable((By.ID, element_id))).click()

    def consent(self):
        self.tap("consent")
        self.tap("consent-next")

    def photograph(self):
        self.tap("ocr-front")
        self.tap("ocr-back")
        self.tap("ocr-next")

    def finish_with(self, outcome, intention=False):
        """From the face on, to the point where the developer chooses how the attempt ends."""
        self.tap("liveness-start")
        if intention:
            self.tap("intention-next")
        Select(self.see("outcome")).select_by_value(outcome)
        self.tap("submit-outcome")

    def go_through_with(self, outcome, intention=False):
        """All steps, from the first."""
        self.consent()
        self.photograph()
        self.finish_with(outcome, intention)

    def is_shown(self, element_id):
        return self.driver.find_element(By.ID, element_id).is_displayed()

    def color(self, element_id):
        return self.driver.find_element(By.ID, element_id).value_of_css_property("background-color")

    def arrives_at(self, url):
        WebDriverWait(self.driver, WAIT_S).until(expect.url_contains(url), f"did not arrive at {url}")
        self._picture("arrived")
        return self.driver.current_url

    def redirects_since_last_asked(self):
        """Status and URL of every redirect answer that the browser followed."""
        redirects = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            answer = message["params"].get("redirectResponse")
            if message["method"] == "Network.requestWillBeSent" and answer:
                redirects.append((answer["status"], answer["url"]))
        return redirects

    def _picture(self, name):
        self._taken += 1
        self.driver.save_screenshot(str(self._screenshots / f"{self._taken:02}-{name}.png"))


@contextlib.contextmanager
def a_phone(folder, **emulation):
    folder.mkdir(exist_ok=True)
    with chromium(folder, emulation={"deviceMetrics": PHONE} | emulation) as driver:
        yield Phone(driver, folder)


@pytest.fixture
def phone(tmp_path):
    with a_phone(tmp_path) as phone:
        yield phone
        assert complaints(phone.driver) == []


@pytest.fixture
def client(dev):
    with dev.channel() as channel:
        yield ReflectedClient(channel)


def open_verification(dev, client, **more):
    return client.create(**onboarding(success_url=dev.shop("success"), failure_url=dev.shop("failure"), **more))


def callbacks_among(redirects, dev):
    return [status for status, url in redirects if url.startswith(f"{dev.http_url}/callback?")]


def test_pass_goes_through_the_gateway_to_the_success_page(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.redirects_since_last_asked()
    phone.go_through_with("0")

    arrived = phone.arrives_at(dev.shop("success"))
    assert f"faceid_verification_id={created.verification.verification_id}" in arrived
    assert created.biz_token not in arrived, "the token stays out of the merchant's page"
    assert phone.see("verification-id").text == created.verification.verification_id
    assert callbacks_among(phone.redirects_since_last_asked(), dev) == [303]

    result = client.result(created)
    assert state_of(result.verification) == "PASSED"


def test_fail_shows_why_and_goes_to_the_failure_page(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.go_through_with("2016")

    assert "2016" in phone.see("result-code").text
    assert phone.see("result-text").text.strip()
    phone.redirects_since_last_asked()
    phone.tap("back-to-merchant")
    phone.arrives_at(dev.shop("failure"))
    assert callbacks_among(phone.redirects_since_last_asked(), dev) == [303]

    verification = client.result(created).verification
    assert state_of(verification) == "PENDING", "the user may still try again"
    assert verification.last_attempt.code == 2016


def test_retry_with_the_same_token_passes(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.go_through_with("2016")
    assert "还可以重试 4 次" in phone.see("result-next").text
    phone.tap("retry")
    assert phone.see("attempt-number").text == "第 2 次，共 5 次机会"
    phone.finish_with("0")
    phone.arrives_at(dev.shop("success"))

    result = client.result(created)
    assert state_of(result.verification) == "PASSED"
    assert [attempt.code for attempt in result.result.attempts] == [2016, 0]


def test_coming_back_after_a_failure_passes(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.go_through_with("1004")
    phone.tap("back-to-merchant")
    phone.arrives_at(dev.shop("failure"))

    phone.open(created.url)
    phone.go_through_with("0")
    phone.arrives_at(dev.shop("success"))
    assert state_of(client.result(created).verification) == "PASSED"


def test_giving_up_decides_nothing(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.go_through_with("give-up")
    phone.arrives_at(dev.shop("failure"))

    verification = client.result(created, fresh=True).verification
    assert state_of(verification) == "PENDING"
    assert not verification.HasField("last_attempt")


def test_closing_decides_nothing(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.redirects_since_last_asked()
    phone.go_through_with("close")
    phone.see("step-closed")
    assert callbacks_among(phone.redirects_since_last_asked(), dev) == [], "nobody came back"

    verification = client.result(created, fresh=True).verification
    assert state_of(verification) == "PENDING"
    assert not verification.HasField("last_attempt")
    phone.open(created.url)
    phone.go_through_with("0")
    phone.arrives_at(dev.shop("success"))


def test_intention_has_a_step_of_its_own(dev, client, phone):
    text = "我同意开户"
    created = open_verification(dev, client, flow="signing", intention={"read_aloud": {"text": text}})
    phone.open(created.url)
    phone.consent()
    phone.photograph()
    phone.tap("liveness-start")
    phone.see("intention-next")
    assert text in phone.driver.find_element(By.TAG_NAME, "body").text
    phone.tap("intention-next")
    Select(phone.see("outcome")).select_by_value("0")
    phone.tap("submit-outcome")
    phone.arrives_at(dev.shop("success"))
    assert state_of(client.result(created).verification) == "PASSED"


def test_nothing_is_photographed_before_consent(dev, client, phone):
    phone.open(open_verification(dev, client).url)
    assert not phone.see("consent-next").is_enabled()
    assert "与权威库中的照片比对" in phone.driver.find_element(By.ID, "terms").text
    assert not any(phone.is_shown(step) for step in ("ocr-front", "ocr-back", "ring"))
    phone.tap("consent")
    assert phone.driver.find_element(By.ID, "consent-next").is_enabled()
    phone.tap("consent")
    assert not phone.driver.find_element(By.ID, "consent-next").is_enabled(), "consent can be taken back"


def test_there_is_no_next_step_without_both_photos(dev, client, phone):
    phone.open(open_verification(dev, client).url)
    phone.consent()
    for side in ("ocr-front", "ocr-back"):
        assert not phone.see("ocr-next").is_enabled()
        phone.tap(side)
    phone.tap("ocr-next")
    phone.see("liveness-start")


def test_a_refused_card_is_photographed_again(dev, client, phone):
    phone.open(open_verification(dev, client).url)
    phone.go_through_with("303")
    phone.tap("retry")
    assert not phone.see("ocr-next").is_enabled(), "the photos before were refused"


def test_attempts_are_shown_until_there_is_none_left(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.consent()
    phone.photograph()
    for code in ("1004", "1201", "2015", "2016", "2016"):
        phone.finish_with(code)
        phone.see("result-code")
        if phone.is_shown("retry"):
            phone.tap("retry")
    assert not phone.is_shown("retry")
    assert phone.see("result-next").text == "5 次机会已用完，请返回商户重新发起"
    shown = [line.text for line in phone.driver.find_elements(By.CSS_SELECTOR, "#attempts li")]
    assert len(shown) == 5 and shown[0].split() == ["第", "1", "次", "1004", "活体检测未通过，请重试"]
    phone.open(created.url)
    assert phone.see("result-code").text == "16"
    assert phone.color("result-mark") == RED
    verification = client.result(created, fresh=True).verification
    assert verification.attempts_exhausted and state_of(verification) == "PENDING"


def test_a_flow_that_is_complete_is_shown_as_done(dev, client, phone):
    created = open_verification(dev, client)
    dev.simulator.attempt(created.biz_token, 0)
    phone.open(created.url)
    assert phone.see("result-code").text == "14"
    assert phone.see("result-text").text == "本次核身已完成"
    assert phone.color("result-mark") == GREEN and phone.driver.find_element(By.ID, "result-mark").text == "✓"
    assert not phone.is_shown("retry")
    phone.tap("back-to-merchant")
    phone.arrives_at(dev.shop("success"))


def test_leaving_is_asked_for_and_comes_back_to_the_merchant(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.tap("leave")
    phone.tap("stay")
    phone.consent()
    phone.tap("leave")
    phone.tap("leave-now")
    phone.arrives_at(dev.shop("failure"))
    assert not client.result(created, fresh=True).verification.HasField("last_attempt")


def test_other_browsers_are_sent_to_wechat_when_it_is_asked_for(dev, client, tmp_path):
    created = open_verification(dev, client)
    dev.simulator.control("POST", "/page", {"only_in_wechat": True})
    try:
        with a_phone(tmp_path / "other") as phone:
            phone.open(created.url)
            assert phone.see("title").text == "请在微信中打开"
        with a_phone(tmp_path / "wechat", userAgent=WECHAT) as phone:
            phone.open(created.url)
            phone.see("consent-next")
    finally:
        dev.simulator.control("POST", "/page", {"only_in_wechat": False})


def test_the_merchant_says_what_to_call_next(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.go_through_with("2016")
    phone.tap("back-to-merchant")
    phone.arrives_at(dev.shop("failure"))
    assert "failure_url" in phone.see("happened").text
    assert created.verification.verification_id in phone.see("next").text and "GetResult" in phone.see("next").text

    # With a page of the caller's own the vendor comes straight to it, and the gateway is told by the caller.
    own = client.create(**onboarding(return_url=dev.shop("back")))
    phone.open(own.url)
    phone.go_through_with("0")
    arrived = phone.arrives_at(dev.shop("back"))
    assert "return_url" in phone.see("happened").text and "HandleCallback" in phone.see("next").text
    assert own.biz_token not in phone.driver.find_element(By.TAG_NAME, "body").text
    told = client.call("HandleCallback", {"callback_url": arrived})
    assert state_of(told.verification) == "PASSED"


def test_every_step_fits_a_phone(dev, client, phone):
    phone.open(open_verification(dev, client).url)

    def fits(element_id):
        phone.see(element_id)
        width, window = phone.driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert width <= window == PHONE["width"], element_id
        assert phone.driver.execute_script("return document.documentElement.lang").startswith("zh")

    fits("consent-next")
    phone.consent()
    fits("ocr-next")
    phone.photograph()
    fits("liveness-start")
    phone.tap("liveness-start")
    fits("outcome")
    Select(phone.see("outcome")).select_by_value("2016")
    phone.tap("submit-outcome")
    fits("result-code")
    phone.tap("back-to-merchant")
    fits("next")


@pytest.mark.parametrize(("code", "page"), [(0, "success"), (2016, "failure")])
def test_callback_answers_303(dev, client, code, page):
    created = open_verification(dev, client)
    redirect = dev.simulator.attempt(created.biz_token, code)["redirect_url"]

    answers = [dev.follow(redirect) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 303
        assert answer.headers["Location"] == (
            f"{dev.shop(page)}?faceid_verification_id={created.verification.verification_id}"
        )
        # The URL of this answer holds a token: neither a cache nor the next page may have it.
        assert "no-store" in answer.headers["Cache-Control"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("query", ["", "?BizToken=x", "?faceid_verification_id=x&faceid_mac=y&BizToken=z", "?" + "x" * 10_000])
def test_forged_callback_goes_nowhere(dev, query):
    answer = dev.follow(f"{dev.http_url}/callback{query}")
    assert answer.status_code in (400, 404, 414), answer.status_code
    assert "Location" not in answer.headers
