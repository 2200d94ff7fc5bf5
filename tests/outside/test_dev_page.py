"""The landing page of `dev` in a real browser: a calling service, its verifications and the simulator's switches."""

import json
import re

import pytest
import requests
from browser import chromium, complaints
from people import onboarding
from processes import DevProcess, ServeConfig, ServeProcess, SimulateProcess, http_session, wait_for
from reflected import ReflectedClient, state_of
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expect
from selenium.webdriver.support.ui import Select, WebDriverWait

WAIT_S = 15
SECRET = "invented-secret-of-nobody"
WALKED = 3  # how many verifications `dev` walks at its start


class Page:
    """The landing page, looked at."""

    def __init__(self, driver, dev, pictures):
        self.driver, self.dev, self._pictures = driver, dev, pictures
        driver.get(f"{dev.http_url}/")
        # It is complete when the events of the start have come.
        self.until("the events of the walk", lambda: self.text("rows").count("SETTLED") >= WALKED)

    def until(self, what, condition):
        # The page draws a row anew while it is looked at.
        passing = [NoSuchElementException, StaleElementReferenceException]
        return WebDriverWait(self.driver, WAIT_S, ignored_exceptions=passing).until(lambda _: condition(), f"no {what}")

    def text(self, element_id):
        return self.driver.find_element(By.ID, element_id).text

    def create(self, **fields):
        for name, value in fields.items():
            field = self.driver.find_element(By.ID, name)
            if field.tag_name == "select":
                Select(field).select_by_value(value)
            else:
                field.clear()
                field.send_keys(value)
        before = self.driver.find_element(By.ID, "link").get_attribute("href")
        self.driver.find_element(By.ID, "create-button").click()
        return self.until(
            "link", lambda: (link := self.driver.find_element(By.ID, "link").get_attribute("href")) != before and link
        )

    def submit(self, switch):
        state = self.text("simulator-state")
        self.driver.find_element(By.CSS_SELECTOR, f"[data-switch={switch}] button").click()
        self.until(f"effect of {switch}", lambda: self.text("simulator-state") != state)

    def picture(self, name):
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        self.driver.set_window_size(1100, max(height + 150, 800))
        self.driver.save_screenshot(str(self._pictures / f"{name}.png"))


@pytest.fixture
def driver(tmp_path):
    with chromium(tmp_path, "lang=en-US", "accept-lang=en-US", "window-size=1100,1400") as driver:
        yield driver


@pytest.fixture
def page(dev, driver, tmp_path):
    yield Page(driver, dev, tmp_path)
    dev.simulator.reset()
    assert complaints(driver) == []


@pytest.fixture
def client(dev):
    with dev.channel() as channel:
        yield ReflectedClient(channel)


def biz_token(url):
    return re.search(r"token=([0-9A-F-]{36})$", url)[1]


def test_a_verification_is_created_and_its_result_comes_by_itself(dev, page):
    url = page.create(flow="onboarding")
    page.until("state", lambda: page.text("live-state") == "PENDING")
    page.picture("created")
    qr = page.driver.find_element(By.ID, "qr")
    assert qr.is_displayed() and qr.get_property("naturalWidth") >= 240, "the QR code is a picture that loads"

    dev.simulator.attempt(biz_token(url), 2016)
    # Nothing here asks: the result of the attempt is found when the browser comes back.
    verification = page.text("live-id")
    redirect = dev.simulator.control("POST", f"/tokens/{biz_token(url)}/give-up")["redirect_url"]
    assert dev.follow(redirect).status_code == 303
    page.until("attempt", lambda: "2016" in page.text("live-text"))
    assert page.text("live-state") == "PENDING"

    redirect = dev.simulator.attempt(biz_token(url), 0)["redirect_url"]
    assert dev.follow(redirect).status_code == 303
    page.until("pass", lambda: page.text("live-state") == "PASSED" and "2016, 0" in page.text("live-text"))
    events = page.text("live-events")
    assert re.search(r"CREATED.*ATTEMPTED.*\(2016\).*SETTLED → PASSED", events, re.DOTALL), events
    row = page.text(f"row-{verification}")
    assert "PASSED" in row and "SETTLED → PASSED (0)" in row
    page.picture("passed")


def test_what_others_create_appears_in_the_table(dev, page, client):
    created = client.create(**onboarding(success_url=dev.shop("a"), failure_url=dev.shop("b")))
    line = f"row-{created.verification.verification_id}"
    page.until("row", lambda: page.driver.find_elements(By.ID, line))
    client.call("CancelVerification", {"verification_id": created.verification.verification_id})
    page.until("cancel", lambda: "CANCELED" in page.text(line))


@pytest.mark.parametrize("flow", ["encrypted", "photo", "signing"])
def test_every_flow_of_dev_can_be_created(page, flow):
    assert "/h5?token=" in page.create(flow=flow)


def test_a_refusal_names_the_field(page):
    page.driver.find_element(By.ID, "id-number").clear()
    page.driver.find_element(By.ID, "id-number").send_keys("110105194912310021")
    page.driver.find_element(By.ID, "create-button").click()
    page.until("refusal", lambda: "subject.id_number" in page.text("create-problem"))
    assert page.text("create-problem").startswith("InvalidArgument · INVALID_FIELDS\n")
    # Chromium itself writes down that an answer was a 4xx.
    assert all("422" in line for line in complaints(page.driver))


def test_switches_do_what_they_say(dev, page, client):
    Select(page.driver.find_element(By.ID, "next-outcome")).select_by_value("1004")
    page.submit("outcomes")
    assert "1 prepared outcome(s)" in page.text("simulator-state")
    url = page.create(flow="onboarding")
    verification = {"verification_id": page.text("live-id")}
    dev.simulator.control("POST", f"/tokens/{biz_token(url)}/attempts", {})
    assert client.call("GetResult", verification | {"fresh": True}).verification.last_attempt.code == 1004

    page.submit("faults")
    assert dev.simulator.control("GET", "/state")["faults"] == 3
    page.driver.find_element(By.CSS_SELECTOR, "[data-clear=faults]").click()
    wait_for("the faults to be cleared", lambda: dev.simulator.control("GET", "/state")["faults"] == 0)

    Select(page.driver.find_element(By.ID, "advance")).select_by_value("7200")
    page.submit("clock")
    assert "clock 7200 s ahead" in page.text("simulator-state")
    told = client.call("GetResult", verification | {"fresh": True}).verification
    assert state_of(told) == "FAILED", "its token has ended, and its last attempt had not passed"


@pytest.mark.parametrize(("asked", "shown", "hidden"), [("?lang=zh", "扮演调用方", "Be the calling"), ("", "Be the calling", "扮演调用方")])
def test_the_language_is_chosen(dev, driver, tmp_path, asked, shown, hidden):
    driver.get(f"{dev.http_url}/{asked}")
    text = driver.find_element(By.TAG_NAME, "body").text
    assert shown in text and hidden not in text
    if asked:
        WebDriverWait(driver, WAIT_S).until(expect.presence_of_element_located((By.CSS_SELECTOR, "#rows tr")))
        driver.save_screenshot(str(tmp_path / "chinese.png"))


def test_a_phone_sees_all_of_it(dev, tmp_path):
    phone = {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 2}}
    with chromium(tmp_path, emulation=phone) as driver:
        driver.get(f"{dev.http_url}/")
        WebDriverWait(driver, WAIT_S).until(expect.presence_of_element_located((By.CSS_SELECTOR, "#rows tr")))
        width = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        driver.save_screenshot(str(tmp_path / "phone.png"))
        assert width[0] <= width[1] == 390


def test_the_url_opens_as_grpcurl_prints_it(dev, client):
    # Go escapes an ampersand in JSON as \u0026: what is printed must not need to be decoded.
    url = client.create(**onboarding(success_url=dev.shop("a"), failure_url=dev.shop("b"))).url
    assert "&" not in url
    assert http_session().get(url, timeout=10).status_code == 200


def test_nobody_else_can_use_the_page(dev):
    create = f"{dev.http_url}/dev/verifications"
    form = {"flow": "onboarding", "name": "张三", "id_number": "11010519491231002X", "read_aloud": ""}
    http = http_session()
    # A form of another site can send this, and no JSON.
    simple = {"Content-Type": "text/plain"}
    assert http.post(create, data=json.dumps(form), headers=simple, timeout=10).status_code == 415
    assert http.post(f"{dev.http_url}/dev/simulator/reset", data="{}", headers=simple, timeout=10).status_code == 404
    # A name that leads here, as in DNS rebinding.
    rebound = {"Host": "evil.example:8080"}
    assert http.post(create, json=form, headers=rebound, timeout=10).status_code == 421
    assert http.get(f"{dev.http_url}/", headers=rebound, timeout=10).status_code == 421
    # Of the control port there is what the page needs.
    for method, path in [("POST", "keys"), ("GET", "tokens"), ("POST", "sts"), ("PUT", "clock")]:
        answer = http.request(method, f"{dev.http_url}/dev/simulator/{path}", json={}, timeout=10)
        assert answer.status_code == 404, (method, path)


def test_no_secret_is_on_the_page(dev):
    data = dev.log.parent / "data"
    secrets = [text for name in ("simulator.key", "vault.keys") for text in re.split(r"[:\s]+", (data / name).read_text()) if len(text) > 8]
    assert len(secrets) == 3
    http = http_session()
    paths = ["/", "/dev/page.js", "/dev/page.css", "/dev/verifications", "/dev/simulator/state"]
    for answer in (http.get(dev.http_url + path, timeout=10) for path in paths):
        assert answer.status_code == 200, answer.url
        assert not any(secret in answer.text for secret in secrets)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_it_starts_again_on_the_same_folder(binary, run, tmp_path):
    def listed(dev):
        answer = http_session().get(f"{dev.http_url}/dev/verifications", timeout=10)
        return {row["id"]: row["state"] for row in answer.json()["verifications"]}

    with run(DevProcess, binary, tmp_path) as dev:
        first = listed(dev)
        assert list(first.values()) == ["PASSED"] * WALKED
        dev.terminate()
        assert dev.exit_code() == 0
    with run(DevProcess, binary, tmp_path) as dev:
        # Its log already has the lines by which the end of the walk is known.
        walked_again = list((first | dict.fromkeys(range(WALKED), "PASSED")).values())
        dev.wait_until("the second walk", lambda: list(listed(dev).values()) == walked_again)
        assert set(first) < set(listed(dev))


def test_a_page_that_watches_does_not_hold_up_the_stop(binary, run, tmp_path):
    with run(DevProcess, binary, tmp_path) as dev:
        with http_session().get(f"{dev.http_url}/dev/events", stream=True, timeout=10) as events:
            assert events.headers["Content-Type"] == "text/event-stream"
            dev.terminate()
            assert dev.exit_code() == 0
            assert "the stop waits no longer" not in dev.log_text()


def test_a_phone_is_sent_to_an_address_that_it_reaches(binary, run, tmp_path):
    # Another address of this machine, as that of its network is.
    phones, everywhere = "127.0.0.2", "0.0.0.0"
    with run(DevProcess, binary, tmp_path, args=["--reached-as", phones, "--allow-remote"], browsers=everywhere) as dev:
        http, form = http_session(), {"flow": "onboarding", "name": "张三", "id_number": "11010519491231002X", "read_aloud": ""}
        port = dev.http_url.rpartition(":")[2]
        created = http.post(f"http://{phones}:{port}/dev/verifications", json=form, timeout=10).json()
        assert created["url"].startswith(f"http://{phones}:") and http.get(created["url"], timeout=10).status_code == 200
        redirect = dev.simulator.attempt(biz_token(created["url"]), 0)["redirect_url"]
        assert redirect.startswith(f"http://{phones}:{port}/callback?")
        arrived = http.get(redirect, timeout=10)
        assert arrived.status_code == 200 and arrived.url.startswith(f"http://{phones}:") and "/shop/welcome" in arrived.url


def test_the_page_is_for_this_machine_unless_told_otherwise(binary, run, tmp_path):
    with pytest.raises(AssertionError, match="dev ended with 1"), run(DevProcess, binary, tmp_path, browsers="0.0.0.0"):
        pass
    assert "add --allow-remote if that is meant" in (tmp_path / "dev.log").read_text()


def test_serve_has_no_such_page(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET, SECRET) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET, SECRET)
        with run(ServeProcess, binary, tmp_path, config) as serve:
            for path in ("/", "/dev/page.js", "/dev/verifications", "/dev/simulator/state", "/dev/events"):
                answer = requests.get(serve.http_url + path, timeout=10, proxies={"http": ""})
                assert answer.status_code == 404, path
