"""What to type on which host, and how each command is known.

recipe.py       what a recipe consists of
steps.py        steps that several recipes have
cards.py        RTX cards, GPU servers, hosts without a GPU
containers.py   NVIDIA's containers, Triton's server
boards.py       Jetson, WSL2, Windows
book.py         all of them, and the one that is for a host
page.py         README.md, made of them
"""
