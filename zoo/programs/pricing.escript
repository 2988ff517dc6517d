#!/usr/bin/env escript
%% What an order costs, told over HTTP: every connection has a process, and the price list has one that all of them ask.
%% /status tells how many orders wait for it. Usage: pricing.escript PORT
-module(pricing).
-mode(compile).
-behaviour(gen_server).
-export([main/1, init/1, handle_call/3, handle_cast/2]).

main([Port]) ->
    {ok, _} = gen_server:start_link({local, prices}, ?MODULE, [], []),
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), [binary, {packet, http_bin}, {active, false}, {ip, {127, 0, 0, 1}},
        {backlog, 128}, {reuseaddr, true}, {nodelay, true}]),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Pid = spawn(fun() -> receive yours -> serve(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! yours,
    accept(Listener).

serve(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, {http_request, _, {abs_path, Path}, _}} ->
            skip_headers(Socket),
            Body = answer(Path),
            ok = gen_tcp:send(Socket, ["HTTP/1.1 200 OK\r\nContent-Length: ", integer_to_list(iolist_size(Body)), "\r\n\r\n", Body]),
            serve(Socket);
        _ -> gen_tcp:close(Socket)
    end.

skip_headers(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, http_eoh} -> ok;
        {ok, _} -> skip_headers(Socket)
    end.

answer(<<"/status">>) ->
    {message_queue_len, Waiting} = process_info(whereis(prices), message_queue_len),
    [integer_to_list(Waiting), " orders wait\n"];
answer(Path) ->
    Price = gen_server:call(prices, {price, erlang:phash2(Path, 1000)}, infinity),
    [integer_to_list(Price), " cents\n"].

init([]) -> {ok, [{N rem 1000, N rem 50, N rem 7, N rem 90} || N <- lists:seq(1, 200000)]}.

%% A rule is for a customer, from a number of pieces on, and takes something off.
handle_call({price, Customer}, _From, Rules) ->
    {reply, lists:foldl(fun(Rule, Price) -> apply_rule(Rule, Customer, Price) end, 100000, Rules), Rules}.

handle_cast(_, Rules) -> {noreply, Rules}.

apply_rule({Customer, Pieces, Group, Off}, Customer, Price) when Pieces > 3, Group =/= 6 -> Price - Off;
apply_rule({_, 49, 3, _}, _, Price) -> max(Price, 500);
apply_rule(_, _, Price) -> Price.
