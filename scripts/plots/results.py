"""Writes results to files, with the command, the date and the machine."""
import datetime, json, os, platform, subprocess

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
DIRECTORY = f"{ROOT}/docs/figures"


def machine():
    """Describes this machine in one line."""
    cpu = open("/proc/cpuinfo").read()
    model = next((line.split(":")[1].strip() for line in cpu.split("\n") if line.startswith("model name")),
                 platform.machine())
    memory = int(open("/proc/meminfo").readline().split()[1]) / (1 << 20)
    kind = "virtual machine" if " hypervisor" in cpu else "machine"
    cores = os.cpu_count()
    linux = platform.release().split("-")[0]
    return f"{kind}, {cores} cores of {model}, {memory:.0f} GiB of memory, Linux {linux}"


def bench(binary, scenario, *options):
    """The report of a scenario of `hugemem bench`. Less is better for every figure in it."""
    run = subprocess.run([binary, "bench", scenario, "--json", *options], stdout=subprocess.PIPE, text=True)
    # Status 1 means that a figure misses its goal.
    assert run.returncode in (0, 1), f"hugemem bench {scenario}: exit status {run.returncode}"
    return json.loads(run.stdout)


def begin(command, **about):
    """The head of a result. `load` is the load average before; `save` adds the one after."""
    return {"command": command, "date": datetime.date.today().isoformat(), "machine": machine(),
            "load": round(os.getloadavg()[0], 1), **about}


def save(name, result):
    os.makedirs(DIRECTORY, exist_ok=True)
    result["loadAfter"] = round(os.getloadavg()[0], 1)
    path = f"{DIRECTORY}/{name}.json"
    with open(path, "w") as file:
        json.dump(result, file, indent=1, ensure_ascii=False)
        file.write("\n")
    print(f"{os.path.relpath(path, ROOT)} is written", flush=True)


def load(name):
    with open(f"{DIRECTORY}/{name}.json") as file:
        return json.load(file)
