import pathlib
import subprocess
import sys
import tempfile

folder = pathlib.Path(tempfile.mkdtemp())
(folder / "extra-openai-models.yaml").write_text(
    f"- model_id: octavo\n  model_name: tiny\n  api_base: {sys.argv[1]}/v1\n  supports_tools: true\n  can_stream: true\n"
)
(folder / "tools.py").write_text('def run(command: str) -> str:\n    """Run a command."""\n    return "octavo-42"\n')
command = [str(pathlib.Path(sys.executable).with_name("llm")), "prompt", "-m", "octavo", "What does echo print?", "--key", "x", "-n"]
for more in ([], ["--no-stream"], ["--functions", str(folder / "tools.py"), "--td"]):
    done = subprocess.run([*command, *more], env={"LLM_USER_PATH": str(folder), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert "The command printed octavo-42." in done.stdout, done
    assert not more[1:] or "octavo-42" in done.stderr, done
