"""What the service answers: the contract's shape, and the neighbours that exact arithmetic over the release gives."""

import json
import math
from collections import Counter
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from api_fixtures import (
    ARTISTS,
    N_CLIPS,
    ODD_IDS,
    Catalogue,
    ask,
    ids_of,
    message_of,
    refusal,
    results_of,
    serving,
    unit,
)
from starlette.testclient import TestClient

from audiorec.api.schemas import Answer, BatchAnswer, ClipAnswer
from audiorec.nearest import Nearest

RESULT_KEYS = ["rank", "clip_id", "similarity", "distance", "url", "title", "artist", "label", "metadata"]
OWN_COLUMNS = ["bpm", "gain_db", "mood"]
ID = "b/clip 21.wav"

Row = dict[str, str]


def ranked(nearest: Nearest, vector: Any) -> list[tuple[str, float]]:
    """(clip id, cosine) of the whole catalogue, nearest first."""
    similarities = np.asarray(nearest.release.embeddings, np.float64) @ unit(vector)
    order = np.argsort(-similarities, kind="stable")
    return [(nearest.release.metadata.clip_id(int(row)), float(similarities[row])) for row in order]


def vector_of(nearest: Nearest, clip_id: str) -> list[float]:
    vector: list[float] = nearest.release.embeddings[nearest.release.metadata.row_of(clip_id)].tolist()
    return vector


class TestAnswer:
    def test_has_exactly_the_keys_of_the_contract(self, client: TestClient) -> None:
        answer = ask(client, {"clip_id": ID}).json()
        assert list(answer) == ["results", "query", "release", "took_ms"]
        assert answer["query"] == {"kind": "clip_id"}
        assert answer["release"] == "0001"
        assert 0 < answer["took_ms"] < 60_000
        for result in answer["results"]:
            assert list(result) == RESULT_KEYS
            assert list(result["metadata"]) == ["album", "duration_s", "license", "sha256", "source", *OWN_COLUMNS]
        Answer.model_validate(answer, strict=True)

    def test_ranks_from_one_nearest_first(self, client: TestClient) -> None:
        results = results_of(ask(client, {"clip_id": ID, "k": 20}))
        assert [result["rank"] for result in results] == list(range(1, 21))
        similarities = [result["similarity"] for result in results]
        assert similarities == sorted(similarities, reverse=True)
        assert -1 <= similarities[-1] < similarities[0] <= 1

    def test_distance_is_the_angular_one_of_the_similarity(self, client: TestClient, nearest: Nearest) -> None:
        results = results_of(ask(client, {"embedding": vector_of(nearest, ID), "k": 40}))
        for result in results:
            assert result["distance"] ** 2 == pytest.approx(2 - 2 * result["similarity"], abs=1e-5)
        assert results[0]["distance"] == pytest.approx(0, abs=2e-3)

    def test_is_what_the_library_answers(self, client: TestClient, nearest: Nearest) -> None:
        options: dict[str, Any] = {"k": 7, "filter": {"bpm": {"gte": 65}}, "exclude": [ODD_IDS[0]], "max_per_artist": 2}
        by_id = results_of(ask(client, {"clip_id": ID, **options}))
        assert by_id == nearest.search_id(ID, **options).to_dicts()
        vector = vector_of(nearest, ID)
        assert results_of(ask(client, {"embedding": vector, **options})) == nearest.search(vector, **options).to_dicts()

    def test_is_what_exact_arithmetic_gives(self, client: TestClient, nearest: Nearest) -> None:
        rng = np.random.default_rng(0)
        for vector in rng.standard_normal((20, nearest.release.dim)):
            results = results_of(ask(client, {"embedding": vector.tolist(), "k": 10}))
            expected = ranked(nearest, vector)[:10]
            assert [result["clip_id"] for result in results] == [clip_id for clip_id, _ in expected]
            assert [result["similarity"] for result in results] == pytest.approx([s for _, s in expected], abs=2e-6)

    def test_tells_what_is_known_of_each_clip(self, client: TestClient, catalogue: Catalogue) -> None:
        results = results_of(ask(client, {"clip_id": ID, "k": N_CLIPS}))
        by_id = {result["clip_id"]: result for result in results}
        for row in catalogue.rows:
            if row["clip_id"] == ID:
                continue
            result = by_id[row["clip_id"]]
            for column in ("url", "title", "artist", "label"):
                assert result[column] == row[column]
            known = result["metadata"]
            assert known["bpm"] == (int(row["bpm"]) if row["bpm"] else None)
            assert known["gain_db"] == float(row["gain_db"])
            assert known["mood"] == row["mood"]
            assert known["duration_s"] > 0


class TestQuery:
    def test_a_clip_is_not_in_its_own_answer(self, client: TestClient, catalogue: Catalogue) -> None:
        everything = {row["clip_id"] for row in catalogue.rows}
        for clip_id in everything:
            found = ids_of(ask(client, {"clip_id": clip_id, "k": 100}))
            assert len(found) == N_CLIPS - 1
            assert set(found) == everything - {clip_id}

    def test_an_embedding_finds_its_own_clip_first(self, client: TestClient, nearest: Nearest) -> None:
        first, *_ = results_of(ask(client, {"embedding": vector_of(nearest, ID)}))
        assert first["clip_id"] == ID
        assert first["similarity"] == 1.0
        answer = ask(client, {"embedding": vector_of(nearest, ID)}).json()
        assert answer["query"] == {"kind": "embedding"}

    @pytest.mark.parametrize("factor", [3, 1e-300, 1e300, 5e-324 / 1e-3])
    def test_the_length_of_an_embedding_does_not_matter(
        self, client: TestClient, nearest: Nearest, factor: float
    ) -> None:
        vector = [x * factor for x in vector_of(nearest, ID)]
        if factor > 1e-310:
            expected = ids_of(ask(client, {"embedding": vector_of(nearest, ID)}))
        else:  # subnormal numbers keep few digits: what is left of the vector is what is asked for
            expected = [clip_id for clip_id, _ in ranked(nearest, np.array(vector) * 1e300)][:10]
        assert ids_of(ask(client, {"embedding": vector})) == expected

    @pytest.mark.parametrize("huge", [1e308, -1.7e308])
    def test_numbers_near_the_end_of_their_range(self, client: TestClient, nearest: Nearest, huge: float) -> None:
        vector = [huge, *[1.0] * (nearest.release.dim - 2), 1e-300]
        expected = [clip_id for clip_id, _ in ranked(nearest, np.array(vector) / 1e308)][:10]
        assert ids_of(ask(client, {"embedding": vector})) == expected

    def test_whole_numbers_are_numbers(self, client: TestClient, nearest: Nearest) -> None:
        vector = [1, -2, *[3] * (nearest.release.dim - 2)]
        assert ids_of(ask(client, {"embedding": vector})) == [clip_id for clip_id, _ in ranked(nearest, vector)][:10]

    @pytest.mark.parametrize("clip_id", ODD_IDS)
    def test_any_clip_id_can_be_asked_for(self, client: TestClient, clip_id: str) -> None:
        for body in (json.dumps({"clip_id": clip_id}), json.dumps({"clip_id": clip_id}, ensure_ascii=False).encode()):
            assert len(results_of(ask(client, body))) == 10

    def test_of_a_key_that_comes_twice_the_last_counts(self, client: TestClient) -> None:
        assert len(results_of(ask(client, f'{{"clip_id": "{ID}", "k": 99, "k": 3}}'))) == 3
        assert len(results_of(ask(client, f'{{"clip_id": "nobody", "k": 3, "clip_id": "{ID}"}}'))) == 3

    @pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8", "application/json;"])
    def test_media_types_of_json(self, client: TestClient, media_type: str) -> None:
        response = client.post("/nearest", content=json.dumps({"clip_id": ID}), headers={"Content-Type": media_type})
        assert len(results_of(response)) == 10


class TestK:
    @pytest.mark.parametrize("k", [1, 2, 10, 39])
    def test_in_the_body_in_the_query_string_and_in_both(self, client: TestClient, k: int) -> None:
        answers = [
            ids_of(ask(client, {"clip_id": ID, "k": k})),
            ids_of(ask(client, {"clip_id": ID}, k=k)),
            ids_of(ask(client, {"clip_id": ID, "k": k}, k=k)),
        ]
        assert [len(answer) for answer in answers] == [k] * 3
        assert answers[0] == answers[1] == answers[2]

    def test_is_ten_unless_told(self, client: TestClient) -> None:
        assert len(results_of(ask(client, {"clip_id": ID}))) == 10

    def test_beyond_the_catalogue_gives_all_of_it(self, client: TestClient) -> None:
        assert len(results_of(ask(client, {"clip_id": ID, "k": 100}))) == N_CLIPS - 1

    def test_the_largest_is_a_setting(self, catalogue: Catalogue) -> None:
        with serving(catalogue, max_k=3) as client:
            assert len(results_of(ask(client, {"clip_id": ID, "k": 3}))) == 3
            assert "k = 4, expected 1 to 3" in refusal(ask(client, {"clip_id": ID, "k": 4}), 422, "bad_query")
            parameters = client.get("/openapi.json").json()["paths"]["/nearest"]["post"]["parameters"]
            assert parameters[0]["schema"]["maximum"] == 3


FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda row: True),
    ({"artist": "Ada"}, lambda row: row["artist"] == "Ada"),
    ({"artist": ""}, lambda row: row["artist"] == ""),
    ({"artist": {"not": ["Ada", ""]}}, lambda row: row["artist"] not in ("Ada", "")),
    ({"mood": ["calm", "wild", "nobody's"]}, lambda row: row["mood"] in ("calm", "wild")),
    ({"label": "dog"}, lambda row: "dog" in row["label"].split(";")),
    ({"label": {"not": "cat"}}, lambda row: "cat" not in row["label"].split(";")),
    ({"label": ["cat", "hotdog"]}, lambda row: {"cat", "hotdog"} & set(row["label"].split(";"))),
    ({"bpm": {"gte": 70, "lt": 80}}, lambda row: row["bpm"] and 70 <= int(row["bpm"]) < 80),
    ({"bpm": [60, 61, 9_999]}, lambda row: row["bpm"] in ("60", "61")),
    ({"gain_db": {"gt": -5.5, "lte": -1.25}}, lambda row: -5.5 < float(row["gain_db"]) <= -1.25),
    ({"clip_id": [*ODD_IDS, "nobody"]}, lambda row: row["clip_id"] in ODD_IDS),
    ({"title": "Take\t3\nof “many” 🎶"}, lambda row: row["title"].startswith("Take\t3\n")),
    (
        {"label": "dog", "mood": "calm", "bpm": {"gte": 61}},
        lambda row: "dog" in row["label"].split(";") and row["mood"] == "calm" and int(row["bpm"] or 0) >= 61,
    ),
    ({"mood": "nobody's"}, lambda row: False),
]


class TestNarrowed:
    @pytest.mark.parametrize(("wanted", "passes"), FILTERS, ids=[json.dumps(wanted) for wanted, _ in FILTERS])
    @pytest.mark.parametrize("cap", [None, 1, 3])
    def test_always_k_results_when_k_pass(
        self, client: TestClient, nearest: Nearest, catalogue: Catalogue, wanted: Any, passes: Any, cap: int | None
    ) -> None:
        rows = {row["clip_id"]: row for row in catalogue.rows}
        query = {"clip_id": ID, "filter": wanted, "max_per_artist": cap}
        passing = [id for id, _ in ranked(nearest, vector_of(nearest, ID)) if id != ID and passes(rows[id])]
        expected = capped(passing, rows, cap)
        for k in (1, 5, 10, 39):
            assert ids_of(ask(client, {**query, "k": k})) == expected[:k]
        parameters = {"filter": json.dumps(wanted), "k": 39, **({"max_per_artist": cap} if cap else {})}
        assert ids_of(ask(client, {"clip_id": ID}, **parameters)) == expected

    def test_unknown_artists_are_not_one_person(self, client: TestClient) -> None:
        results = results_of(ask(client, {"clip_id": ID, "k": 39, "max_per_artist": 1}))
        counts = Counter(result["artist"] for result in results)
        assert counts.pop("") == N_CLIPS // len(ARTISTS)
        assert set(counts.values()) == {1}

    @pytest.mark.parametrize("cap", [39, 10**18, 10**400])
    def test_a_cap_that_no_artist_reaches_changes_nothing(self, client: TestClient, cap: int) -> None:
        assert ids_of(ask(client, {"clip_id": ID, "max_per_artist": cap})) == ids_of(ask(client, {"clip_id": ID}))

    def test_excluded_clips_are_left_out_and_others_take_their_place(self, client: TestClient) -> None:
        first, *rest = ids_of(ask(client, {"clip_id": ID, "k": 39}))
        assert ids_of(ask(client, {"clip_id": ID, "exclude": [first, rest[3], "nobody", first]})) == [
            clip_id for clip_id in rest[:11] if clip_id != rest[3]
        ]
        assert ids_of(ask(client, {"clip_id": ID}, exclude=[first, rest[0]])) == rest[1:11]
        assert (
            ids_of(ask(client, {"clip_id": ID}, exclude=ODD_IDS[2]))
            == [clip_id for clip_id in [first, *rest] if clip_id != ODD_IDS[2]][:10]
        )

    def test_everything_excluded_is_an_empty_answer(self, client: TestClient, catalogue: Catalogue) -> None:
        everything = [row["clip_id"] for row in catalogue.rows]
        assert results_of(ask(client, {"clip_id": ID, "exclude": everything})) == []

    def test_null_options_are_no_options(self, client: TestClient) -> None:
        assert ids_of(
            ask(client, {"clip_id": ID, "filter": None, "max_per_artist": None, "embedding": None})
        ) == ids_of(ask(client, {"clip_id": ID}))


def capped(clip_ids: list[str], rows: dict[str, Row], cap: int | None) -> list[str]:
    """Greedily, nearest first: at most `cap` of an artist, where there is one."""
    counts: Counter[str] = Counter()
    kept = []
    for clip_id in clip_ids:
        group = rows[clip_id]["artist"] or f"clip {clip_id}"
        counts[group] += 1
        if cap is None or counts[group] <= cap:
            kept.append(clip_id)
    return kept


class TestBatch:
    def test_each_query_is_answered_as_alone_or_refused_in_its_place(
        self, client: TestClient, nearest: Nearest
    ) -> None:
        queries: list[Any] = [
            {"clip_id": ID, "k": 3},
            {"clip_id": "nobody"},
            {"embedding": vector_of(nearest, ID), "filter": {"label": "dog"}, "max_per_artist": 1},
            {"embedding": [1.0]},
            {"clip_id": ID, "k": 101},
            {"clip_id": ID, "filter": {"nope": 1}},
            {},
            {"text": "a dog"},
            "not an object",
            None,
            {"clip_id": ODD_IDS[1]},
        ]
        codes = {
            1: "unknown_clip",
            3: "bad_vector",
            7: "no_text_encoder",
            **dict.fromkeys((4, 5, 6, 8, 9), "bad_query"),
        }
        response = ask(client, {"queries": queries}, "/nearest/batch")
        assert response.status_code == 200
        body = response.json()
        assert list(body) == ["answers"]
        BatchAnswer.model_validate(body, strict=True)
        assert len(body["answers"]) == len(queries)
        for number, answer in enumerate(body["answers"]):
            if number in codes:
                message_of(answer, codes[number], response.headers["x-request-id"])
            else:
                alone = ask(client, queries[number]).json()
                assert list(answer) == list(alone)
                assert {**answer, "took_ms": 0} == {**alone, "took_ms": 0}

    def test_the_most_queries_are_a_setting(self, catalogue: Catalogue) -> None:
        with serving(catalogue, max_batch=2) as client:
            assert len(ask(client, {"queries": [{"clip_id": ID}] * 2}, "/nearest/batch").json()["answers"]) == 2
            message = refusal(ask(client, {"queries": [{"clip_id": ID}] * 3}, "/nearest/batch"), 422, "bad_query")
            assert "3 queries" in message
            assert "at most 2" in message

    @pytest.mark.parametrize(
        ("body", "fragment"),
        [
            ({"queries": []}, "got [] for queries, expected to have at least 1 item"),
            ({}, "without 'queries'"),
            ([], "got [], expected a JSON object"),
            ({"queries": "x"}, "got 'x' for queries"),
            ({"queries": [{"clip_id": ID}], "k": 3}, "unknown field 'k'"),
        ],
    )
    def test_a_batch_that_is_none(self, client: TestClient, body: Any, fragment: str) -> None:
        assert fragment in refusal(ask(client, body, "/nearest/batch"), 422, "bad_query")


class TestClips:
    @pytest.mark.parametrize("safe", ["/", ""], ids=["slashes as they are", "slashes encoded"])
    def test_each_is_known_by_its_id(
        self, client: TestClient, nearest: Nearest, catalogue: Catalogue, safe: str
    ) -> None:
        for row in catalogue.rows:
            if "%2F" in row["clip_id"]:
                continue  # TestClient decodes a path twice; test_serve.py asks a real server
            response = client.get(f"/clips/{quote(row['clip_id'], safe=safe)}")
            assert response.status_code == 200, (row["clip_id"], response.text)
            answer = response.json()
            ClipAnswer.model_validate(answer, strict=True)
            assert answer == {
                "clip": nearest.release.metadata.row(nearest.release.metadata.row_of(row["clip_id"])),
                "release": "0001",
            }
            assert list(answer["clip"]) == [key for key in RESULT_KEYS if key not in ("rank", "similarity", "distance")]
            assert answer["clip"]["clip_id"] == row["clip_id"]

    @pytest.mark.parametrize("path", ["nobody", "", "b/clip%2021", "b//clip 21.wav", "%FF%FE", "%00", "a" * 5000])
    def test_an_unknown_one(self, client: TestClient, path: str) -> None:
        assert "40 clips" in refusal(client.get(f"/clips/{path}"), 404, "unknown_clip")


def test_no_number_of_an_answer_is_outside_of_json(client: TestClient) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    body = ask(client, {"clip_id": ID, "k": 39}).text
    numbers = [result["similarity"] for result in json.loads(body, parse_constant=refuse)["results"]]
    assert all(map(math.isfinite, numbers))
