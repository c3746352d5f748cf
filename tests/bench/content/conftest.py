import pytest
from tests.bench.content.trained_tokenizers import FAMILIES


@pytest.fixture(scope="session")
def tokenizer_folders(tmp_path_factory):
    """Family -> a model's folder with its tokenizer.json."""
    folders = {}
    for name, make in FAMILIES.items():
        folders[name] = tmp_path_factory.mktemp(name)
        make().save(str(folders[name] / "tokenizer.json"))
    return folders


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test sees what another one kept, or the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "cache"
