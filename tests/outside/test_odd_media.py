"""Media that are odd in one way each, from the scripted vendor: each is kept for itself, and what cannot be kept is told."""

import base64
import json

import pytest
import scripted
from google.protobuf import json_format
from people import jpeg
from processes import wait_for
from reflected import name_of, state_of
from test_odd_answers import passed

PHOTO = jpeg(b"an invented face, seen twice" * 6)
VIDEO = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(100)
BUCKET = "https://bucket-1250000000.cos.ap-guangzhou.myqcloud.com/faceid/s.mp4"
STORED_VIDEO = "faceid/20261126/6b5f0f0e/s.mp4"
# With room for no padding at the end of either.
assert len(PHOTO) % 3 and len(VIDEO) % 3


def b64(data):
    return base64.b64encode(data).decode()


def in_lines(data, end):
    return end.join(b64(data)[at : at + 76] for at in range(0, len(b64(data)), 76))


@pytest.fixture(scope="module")
def gateway(binary, run, module_folder):
    with scripted.gateway(binary, run, module_folder) as gateway:
        yield gateway
        assert gateway.vendor.problems == []


def with_evidence(gateway, answer):
    """What a caller is told when the evidence of a verification was fetched, as far as it could be."""
    created = gateway.create("filmed")
    gateway.vendor.tell(created.biz_token, answer)
    assert state_of(gateway.ask(created).verification) == "PASSED"
    told = wait_for("the evidence", lambda: settled(gateway.client.result(created, view="RESULT_VIEW_FULL")))
    kept = {name_of(e, "kind").removeprefix("EVIDENCE_KIND_"): e for e in told.evidence if e.size_bytes}
    return told, {kind: download(gateway, created, e) for kind, e in kept.items()}


def settled(told):
    return None if told.evidence_pending else told


def download(gateway, created, evidence):
    request = {"verification_id": created.verification.verification_id, "evidence_id": evidence.evidence_id}
    return b"".join(part.chunk for part in gateway.client.stream("DownloadEvidence", request))


def as_json(message):
    return json.dumps(json_format.MessageToDict(message), ensure_ascii=False)


WRITINGS = {
    "with line feeds": in_lines(PHOTO, "\n"),
    "with carriage returns": in_lines(PHOTO, "\r\n"),
    "without padding": b64(PHOTO).rstrip("="),
    "as a data URL": f"data:image/jpeg;base64,{b64(PHOTO)}",
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_medium_is_the_same_however_its_base64_is_written(gateway, writing):
    answer = passed(BestFrame={"BestFrame": WRITINGS[writing]}, VideoData={"LivenessVideo": b64(VIDEO)})
    _, kept = with_evidence(gateway, answer)
    assert kept == {"BEST_FRAME": PHOTO, "LIVENESS_VIDEO": VIDEO}


@pytest.mark.parametrize("reference", [BUCKET, STORED_VIDEO])
@pytest.mark.parametrize("field", ["LivenessVideo", "LivenessVideos"])
def test_a_video_in_a_bucket_is_told_by_its_place_and_the_rest_is_kept(gateway, reference, field):
    video = reference if field == "LivenessVideo" else [{"Seq": "s", "Video": reference}]
    told, kept = with_evidence(gateway, passed(BestFrame={"BestFrame": b64(PHOTO)}, VideoData={field: video}))
    assert kept == {"BEST_FRAME": PHOTO}
    assert "EVIDENCE_KIND_LIVENESS_VIDEO" in as_json(told) and reference in as_json(told)


@pytest.mark.parametrize("broken", ["/9j/4AA...kJD2A", "!!!", 7, {"a": 1}, ["x"]], ids=str)
def test_a_medium_that_is_none_costs_no_other(gateway, broken):
    told, kept = with_evidence(gateway, passed(BestFrame={"BestFrame": broken}, VideoData={"LivenessVideo": b64(VIDEO)}))
    assert kept == {"LIVENESS_VIDEO": VIDEO}
    assert "EVIDENCE_KIND_BEST_FRAME" in as_json(told), "that it is lost is told"


def test_where_all_videos_are_refused_the_one_is_taken(gateway):
    created = gateway.create("filmed")

    def answer(request):
        if request.get("IsReturnAllVideo"):
            return {"Error": {"Code": "FailedOperation.StsUnAuthErrError", "Message": "STS未授权"}}
        return passed(BestFrame={"BestFrame": b64(PHOTO)}, VideoData={"LivenessVideo": b64(VIDEO)})

    gateway.vendor.script("GetDetectInfoEnhanced", answer)
    try:
        assert state_of(gateway.ask(created).verification) == "PASSED"
        told = wait_for("the evidence", lambda: settled(gateway.client.result(created, view="RESULT_VIEW_FULL")))
    finally:
        gateway.vendor.script("GetDetectInfoEnhanced", gateway.vendor.tell_of)
    kinds = {name_of(evidence, "kind") for evidence in told.evidence if evidence.size_bytes}
    assert kinds == {"EVIDENCE_KIND_BEST_FRAME", "EVIDENCE_KIND_LIVENESS_VIDEO"}
