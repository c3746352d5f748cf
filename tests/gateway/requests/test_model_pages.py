"""Pages of models over all pools, as the SDKs read them."""

from anthropic.types import ModelInfo
from openai.types import Model

from fairlead.gateway.endpoints import Pool, Rewrite
from fairlead.gateway.requests import ModelCard, anthropic_list, cards, openai_list

POOLS = [
    Pool("b/two", ("llama", "extra"), age_key="2", adapters=("sql",)),
    Pool("a/one", ("llama", "alias"), age_key="1", adapters=("poet",), rewrites=(Rewrite(("fast",), (("llama", 1),)),)),
    Pool("c/any", ()),
]


def test_every_name_has_one_card():
    assert cards(POOLS) == [
        ModelCard("alias", "llama"),
        ModelCard("extra", "llama"),
        ModelCard("fast", "llama"),
        ModelCard("llama", "llama"),
        ModelCard("poet", "poet", "llama"),
        ModelCard("sql", "sql", "llama"),
    ]


def test_openai_form():
    page = openai_list(cards(POOLS))
    assert page["object"] == "list"
    models = [Model.model_validate(card, strict=True) for card in page["data"]]
    assert [m.id for m in models] == ["alias", "extra", "fast", "llama", "poet", "sql"]
    assert page["data"][4]["parent"] == "llama"
    assert page["data"][0]["parent"] is None


def test_anthropic_form_in_pages():
    models = cards(POOLS)
    whole = anthropic_list(models, {})
    assert [ModelInfo.model_validate(card).id for card in whole["data"]] == [card.name for card in models]
    assert (whole["has_more"], whole["first_id"], whole["last_id"]) == (False, "alias", "sql")
    seen, after = [], None
    while True:
        page = anthropic_list(models, {"limit": "4", **({"after_id": after} if after else {})})
        seen += [card["id"] for card in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert seen == [card.name for card in models]
    before = anthropic_list(models, {"limit": "2", "before_id": "llama"})
    assert [card["id"] for card in before["data"]] == ["extra", "fast"]
    assert before["has_more"]
    for limit in ("x", "-1", "0", "9" * 30, ""):
        assert len(anthropic_list(models, {"limit": limit})["data"]) >= 1
    assert anthropic_list([], {}) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
