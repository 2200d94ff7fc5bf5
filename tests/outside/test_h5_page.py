"""The vendor's H5 page in a real browser, the size of a phone, from the first tap to the merchant's page."""

import json

import pytest
from people import onboarding
from reflected import ReflectedClient, state_of
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expect
from selenium.webdriver.support.ui import Select, WebDriverWait

PHONE = {"width": 390, "height": 844, "pixelRatio": 2}
WAIT_S = 15


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

    def finish_with(self, outcome, intention=False):
        """Goes through the steps to the point where the developer chooses how they end."""
        self.tap("ocr-next")
        self.tap("liveness-start")
        if intention:
            self.tap("intention-next")
        Select(self.see("outcome")).select_by_value(outcome)
        self.tap("submit-outcome")

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


@pytest.fixture
def phone(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-proxy-server",
        f"user-data-dir={tmp_path / 'browser'}",
    ):
        options.add_argument(f"--{flag}")
    options.add_experimental_option("mobileEmulation", {"deviceMetrics": PHONE})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = Service("/usr/bin/chromedriver", log_output=str(tmp_path / "chromedriver.log"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Phone(driver, tmp_path)
    finally:
        driver.quit()


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
    phone.finish_with("0")

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
    phone.finish_with("2016")

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
    phone.finish_with("2016")
    phone.tap("retry")
    phone.finish_with("0")
    phone.arrives_at(dev.shop("success"))

    result = client.result(created)
    assert state_of(result.verification) == "PASSED"
    assert [attempt.code for attempt in result.result.attempts] == [2016, 0]


def test_coming_back_after_a_failure_passes(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.finish_with("1004")
    phone.tap("back-to-merchant")
    phone.arrives_at(dev.shop("failure"))

    phone.open(created.url)
    phone.finish_with("0")
    phone.arrives_at(dev.shop("success"))
    assert state_of(client.result(created).verification) == "PASSED"


def test_giving_up_decides_nothing(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.finish_with("give-up")
    phone.arrives_at(dev.shop("failure"))

    verification = client.result(created, fresh=True).verification
    assert state_of(verification) == "PENDING"
    assert not verification.HasField("last_attempt")


def test_closing_decides_nothing(dev, client, phone):
    created = open_verification(dev, client)
    phone.open(created.url)
    phone.redirects_since_last_asked()
    phone.finish_with("close")
    phone.see("step-closed")
    assert callbacks_among(phone.redirects_since_last_asked(), dev) == [], "nobody came back"

    verification = client.result(created, fresh=True).verification
    assert state_of(verification) == "PENDING"
    assert not verification.HasField("last_attempt")
    phone.open(created.url)
    phone.finish_with("0")
    phone.arrives_at(dev.shop("success"))


def test_intention_has_a_step_of_its_own(dev, client, phone):
    text = "我同意开户"
    created = open_verification(dev, client, flow="signing", intention={"read_aloud": {"text": text}})
    phone.open(created.url)
    phone.tap("ocr-next")
    phone.tap("liveness-start")
    phone.see("intention-next")
    assert text in phone.driver.find_element(By.TAG_NAME, "body").text
    phone.tap("intention-next")
    Select(phone.see("outcome")).select_by_value("0")
    phone.tap("submit-outcome")
    phone.arrives_at(dev.shop("success"))
    assert state_of(client.result(created).verification) == "PASSED"


def test_page_fits_a_phone(dev, client, phone):
    phone.open(open_verification(dev, client).url)
    phone.see("ocr-next")
    width = phone.driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1] == PHONE["width"]
    assert phone.driver.execute_script("return document.documentElement.lang").startswith("zh")


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
